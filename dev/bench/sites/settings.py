"""As little Django as there can be: no middleware, no app, one URL."""

SECRET_KEY = "only-for-the-benchmark"
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "dev.bench.sites.urls"
MIDDLEWARE: list[str] = []
INSTALLED_APPS: list[str] = []
