from django.contrib import admin

from orders.models import Invoice, Order
from shop.office import office


@admin.register(Order)
class OrderAdmin(admin.ModelAdmin):
    list_display = ("id", "customer", "amount", "run", "placed_at")
    autocomplete_fields = ("customer",)
    search_fields = ("customer__email",)


@admin.register(Order, site=office)
class OfficeOrderAdmin(admin.ModelAdmin):
    list_display = ("id", "amount")


@admin.register(Invoice)
class InvoiceAdmin(admin.ModelAdmin):
    list_display = ("number", "order", "total", "mailed_at")
    autocomplete_fields = ("order",)
