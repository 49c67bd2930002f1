"""Django's wiring. Values come from ``runtime.config``; nothing is read from the environment here."""

import sys
import warnings
from datetime import timedelta
from typing import Any

import dj_database_url

from runtime import config, database_server, logs, sentry

try:
    CONFIG = config.load()
except config.ConfigError as error:
    raise SystemExit(f"settings: {error}") from error  # manage.py says it in the operator's language

ROLE = (
    "consumer"
    if "run_coupon_consumer" in sys.argv[1:2]
    else "api"
    if "gunicorn" in sys.argv[0]
    else "command"
)

BASE_DIR = config.BASE_DIR
SECRET_KEY = CONFIG.site.secret_key
DEBUG = CONFIG.site.debug
ALLOWED_HOSTS = list(CONFIG.site.allowed_hosts)
CSRF_TRUSTED_ORIGINS = list(CONFIG.site.csrf_trusted_origins)

SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = CONFIG.site.behind_https
# Without a proxy in front any client could send this header.
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if CONFIG.site.behind_https else None
SECURE_HSTS_SECONDS = CONFIG.site.hsts_s if CONFIG.site.behind_https else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = CONFIG.site.hsts_subdomains
# Programs inside the network ask the API in clear text and follow no redirect. The operations port too is
# reached without TLS, through a tunnel that ends on the operator's machine; its cookies are Secure all the
# same, and browsers keep those for localhost.
SECURE_REDIRECT_EXEMPT = [r""] if CONFIG.api.operations_port else [r"^api/"]
SILENCED_SYSTEM_CHECKS = [
    "security.W021",  # the preload list is for the owner of a whole domain to ask for, not for one service
    "axes.W006",  # an address says nothing behind a proxy; see AXES_LOCKOUT_PARAMETERS below
]

#: These have no pages, and start sooner without what pages are made of: the consumer, and the check that
#: each start of the API waits for (couponsite/starting.py).
_WITHOUT_PAGES = {"run_coupon_consumer", "check_connections"}
_OF_PAGES = [
    "unfold.apps.BasicAppConfig",  # the admin's looks; the site itself is ours (coupons/admin/face.py)
    "coupons.admin.apps.CouponAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "axes",
    "corsheaders",
]
INSTALLED_APPS = [
    "coupons",  # its templates, files and Korean come before those of the admin's theme and of Django
    *([] if _WITHOUT_PAGES & set(sys.argv[1:2]) else _OF_PAGES),
    "consumer",
]

MIDDLEWARE = [
    # Before what answers by itself, a redirect to https included.
    *(["corsheaders.middleware.CorsMiddleware"] if CONFIG.cors.is_on else []),
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "coupons.admin.policy.admin_policy",
    "axes.middleware.AxesMiddleware",
]

CSRF_FAILURE_VIEW = "couponsite.error_pages.csrf_failure"

# coupons/api/cors.py answers alike where Django does not.
CORS_ALLOW_ALL_ORIGINS = CONFIG.cors.allows_all
CORS_ALLOWED_ORIGINS = [] if CONFIG.cors.allows_all else list(CONFIG.cors.origins)
CORS_ALLOW_CREDENTIALS = CONFIG.cors.credentials
CORS_URLS_REGEX = r"^/api/"
CORS_ALLOW_METHODS = ["GET", "HEAD", "POST", "OPTIONS"]
CORS_ALLOW_HEADERS = [
    *("accept", "accept-language", "content-type"),
    *("authorization", "x-api-key", "x-user-token"),
]
# Pages read no other header of an answer, but for the plainest.
CORS_EXPOSE_HEADERS = ["Location", "Retry-After", "RateLimit", "RateLimit-Policy", "WWW-Authenticate"]
CORS_PREFLIGHT_MAX_AGE = 7200  # seconds that a browser remembers the answer; Chrome takes no more

ROOT_URLCONF = "couponsite.urls"
WSGI_APPLICATION = "couponsite.wsgi.application"
APPEND_SLASH = True
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",
    "django.contrib.auth.backends.ModelBackend",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
# The admin's login locks a name after five failures. The name and not the address: behind a proxy all
# clients share one, and a header that names another can be forged. So somebody outside can lock a known name
# out where the admin is on the public port; `manage.py axes_reset_username NAME` opens it again. Counted in
# the database: it is there whenever a login is possible at all, which Redis is not.
AXES_HANDLER = "axes.handlers.database.AxesDatabaseHandler"
AXES_LOCKOUT_PARAMETERS = ["username"]
AXES_FAILURE_LIMIT = 5
AXES_COOLOFF_TIME = timedelta(minutes=15)
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_RESET_ON_SUCCESS = True
AXES_LOCKOUT_CALLABLE = "coupons.admin.lockout.locked_out"
AXES_DISABLE_ACCESS_LOG = True  # Django's own `last_login` tells of successes
AXES_ENABLE_ADMIN = False
AXES_VERBOSE = False  # no line at each start

#: Seconds to wait for a database that hangs: a claim must be answered within seconds, a batch is tried again,
#: and a migration may take long.
_PATIENCE: dict[str, dict[str, int]] = {
    "api": {"read_timeout": config.LONGEST_QUERY_S, "write_timeout": config.LONGEST_QUERY_S},
    "consumer": {"read_timeout": 20, "write_timeout": 20},
    "command": {},
}


def _database(url: str) -> dict[str, Any]:
    """The database at this URL, with every wait bounded and the isolation the locking rules assume."""
    database: dict[str, Any] = dict(dj_database_url.parse(url, conn_max_age=60, conn_health_checks=True))
    options = database.setdefault("OPTIONS", {})
    if database["ENGINE"].endswith("mysql"):
        if database["HOST"] == "localhost" and "unix_socket" not in options:
            database["HOST"] = "127.0.0.1"  # the client library takes the name for its unix socket
        options |= {
            "charset": "utf8mb4",
            "isolation_level": "read committed",
            "connect_timeout": 3,
            **_PATIENCE[ROLE],
            **database_server.tls_options(CONFIG.database),
            # STRICT refuses values that MySQL would otherwise cut or round, NO_ENGINE_SUBSTITUTION refuses a
            # table without transactions; the wait for a row lock is bounded.
            "init_command": "SET sql_mode='STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION', "
            "default_storage_engine=InnoDB, innodb_lock_wait_timeout=10, time_zone='+00:00'",
        }
    else:
        # IMMEDIATE takes SQLite's write lock at BEGIN: it stands in for SELECT ... FOR UPDATE.
        options |= {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        }
    return database


DATABASES = {"default": _database(CONFIG.database.url)}
if CONFIG.database.replica_url:
    DATABASES["replica"] = _database(CONFIG.database.replica_url)
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"


def _redis(name: str, *, timeout_s: float) -> dict[str, Any]:
    """One client of Redis, with its connections; Redis's CLIENT LIST shows the name."""
    return {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": name,
        "OPTIONS": {
            "CONNECTION_FACTORY": "runtime.redis_clients.ConnectionFactory",
            "SOCKET_TIMEOUT": timeout_s,
        },
    }


CACHES = {
    "default": _redis("coupons", timeout_s=CONFIG.redis.timeout_s),
    # A lock waits inside Redis (BLPOP): its socket must wait longer than the lock does.
    "locks": _redis("coupon-locks", timeout_s=CONFIG.consumer.lock_wait_s + 1),
}

REST_FRAMEWORK: dict[str, Any] = {
    # Claims carry no session, so no request can be forged across sites.
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": [],
    "UNAUTHENTICATED_USER": None,
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "coupons.api.negotiation.FirstRenderer",
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "coupons.api.errors.exception_handler",
}

SPECTACULAR_SETTINGS = {
    "OAS_VERSION": "3.1.0",  # the first that knows null
    "TITLE": "Coupon API",
    "VERSION": "1",
    "POSTPROCESSING_HOOKS": ["coupons.api.openapi.document.complete"],
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
}

LANGUAGE_CODE = "ko"
LANGUAGES = [("ko", "한국어"), ("en", "English")]
USE_I18N = True
FORMAT_MODULE_PATH = ["couponsite.formats"]
USE_TZ = True
TIME_ZONE = "Asia/Seoul"

STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
# Without collectstatic, files are served from the packages, so that `make run` needs no extra step and
# whitenoise's warning is needless.
WHITENOISE_USE_FINDERS = True
# collectstatic puts a compressed copy beside each file, which whitenoise serves: 87 kB in place of 489 for
# the scripts and styles of a page of the admin.
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedStaticFilesStorage"},
}
warnings.filterwarnings("ignore", "No directory at", UserWarning)

LOGGING_CONFIG = None
logs.configure(CONFIG.logs, role="consumer" if ROLE == "consumer" else "core")
sentry.report(CONFIG.logs)
