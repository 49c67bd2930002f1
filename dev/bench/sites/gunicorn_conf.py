"""The shipped gunicorn configuration for another site: its values, without the hooks that serve ours."""

from inspect import isfunction

from couponsite import gunicorn_conf as shipped

for _name, _value in vars(shipped).items():
    if not _name.startswith("_") and not isfunction(_value):
        globals()[_name] = _value
