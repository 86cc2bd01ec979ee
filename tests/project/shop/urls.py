from django.urls import include, path

from orders import views
from shop.office import office

urlpatterns = [
    path("shop/orders/", views.place, name="place-order"),
    path("shop/orders/<uuid:run>/", views.look, name="look-at-order"),
    path("shop/invoices/<int:pk>/", views.invoice, name="invoice"),
    path("office/", office.urls),
    path("", include("asyncengine.urls")),
]
handler500 = "flows.api.unavailable.server_error"
