"""The shipped gunicorn configuration for another site: its values, without the hooks that serve ours."""

from couponsite import gunicorn_conf as shipped

globals().update(
    {name: value for name, value in vars(shipped).items() if not name.startswith("_") and not callable(value)}
)
on_exit = shipped.on_exit  # removes the metrics folder that importing it has made
