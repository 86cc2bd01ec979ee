"""The bare view has the database of the installation, and nothing of the engine."""

from flows.benchmark.bare_view import bare_database


def test_the_backend_is_that_of_django_without_settings_of_sessions():
    options = {"connect_timeout": 5, "session_settings": {"jit": "off"}}
    config = {"ENGINE": "flows.postgresql", "NAME": "shop", "OPTIONS": options}

    bare = bare_database(config)

    assert bare["ENGINE"] == "django.db.backends.postgresql"
    assert (bare["NAME"], bare["OPTIONS"]) == ("shop", {"connect_timeout": 5})
    assert options == {"connect_timeout": 5, "session_settings": {"jit": "off"}}


def test_a_request_of_a_project_with_atomic_requests_has_one_transaction():
    config = {"ENGINE": "django.db.backends.sqlite3", "NAME": "file", "ATOMIC_REQUESTS": True}

    bare = bare_database(config)

    assert bare["ENGINE"] == config["ENGINE"]
    assert not bare["ATOMIC_REQUESTS"]
    assert not bare["CONN_HEALTH_CHECKS"]
