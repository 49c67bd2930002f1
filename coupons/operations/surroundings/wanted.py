"""The tables as the models want them."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.db import connection
from django.db.models import CheckConstraint, Field, Model, UniqueConstraint

from coupons.operations.surroundings import reading
from coupons.operations.surroundings.facts import Column, ForeignKey, Table

CHARSET = "utf8mb4"
_TEXT = ("char", "text", "enum")


def models() -> dict[str, type[Model]]:
    """Our models, by table."""
    return {model._meta.db_table: model for model in apps.get_app_config("coupons").get_models()}


def tables() -> dict[str, Table]:
    return {name: _table(model) for name, model in models().items()}


def _table(model: type[Model]) -> Table:
    fields: list[Any] = list(model._meta.local_concrete_fields)
    constraints = model._meta.constraints
    return Table(
        name=model._meta.db_table,
        columns={field.column: _column(field) for field in fields},
        primary_key=tuple(field.column for field in fields if field.primary_key),
        uniques={
            constraint.name: _columns(model, constraint.fields)
            for constraint in constraints
            if isinstance(constraint, UniqueConstraint)
        }
        | {field.column: (field.column,) for field in fields if field.unique and not field.primary_key},
        indexes={index.name: _columns(model, index.fields) for index in model._meta.indexes},
        checks={each.name: True for each in constraints if isinstance(each, CheckConstraint)},
        foreign_keys={field.name: _foreign_key(field) for field in fields if field.remote_field},
        engine="InnoDB",
        charset=CHARSET if reading.is_mysql() else None,
    )


def _columns(model: type[Model], fields: Any) -> tuple[str, ...]:
    found: Any = model._meta
    return tuple(found.get_field(name).column for name in fields)


def _column(field: Field[Any, Any]) -> Column:
    type_ = str(field.db_type(connection)) if reading.is_mysql() else None
    type_ = "tinyint(1)" if type_ == "bool" else type_  # the server's own name for it
    is_counted = bool(type_ and "AUTO_INCREMENT" in type_) or field.get_internal_type() == "BigAutoField"
    type_ = type_.removesuffix(" AUTO_INCREMENT") if type_ else None
    return Column(
        type=type_,
        charset=CHARSET if type_ and any(word in type_ for word in _TEXT) else None,
        is_nullable=field.null,
        has_default=field.has_db_default(),
        is_counted=is_counted,
    )


def _foreign_key(field: Any) -> ForeignKey:
    target = field.target_field
    return ForeignKey(column=field.column, table=target.model._meta.db_table, target=target.column)
