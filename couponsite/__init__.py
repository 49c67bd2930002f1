"""Django's wiring: settings, routes, the WSGI application. It imports all packages, and none imports it."""
