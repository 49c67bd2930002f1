"""Django's wiring: settings, routes, the WSGI application. Imports everything, and nothing imports it."""
