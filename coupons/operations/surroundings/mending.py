"""The statements that remove a difference, as Django's schema editor writes them."""

from __future__ import annotations

from typing import Any

from django.db import connection
from django.db.models import Model

from coupons.operations.surroundings import reading, wanted
from coupons.operations.surroundings.comparing import OF_A_COLUMN, Difference, Kind


def statements(difference: Difference) -> list[str]:
    """The statements, in order, on MySQL and MariaDB. Empty where a person must decide."""
    model = wanted.models()[difference.table]
    table = connection.ops.quote_name(difference.table)
    match difference.kind:
        case Kind.ENGINE:
            return [f"ALTER TABLE {table} ENGINE=InnoDB"]
        case Kind.TABLE_CHARSET:
            return [f"ALTER TABLE {table} CONVERT TO CHARACTER SET {wanted.CHARSET}"]
        case Kind.COLUMN_UNKNOWN:
            return []
        case Kind.PRIMARY_KEY:
            drop = "DROP PRIMARY KEY, " if difference.found else ""
            return [
                f"ALTER TABLE {table} {drop}ADD PRIMARY KEY ({connection.ops.quote_name(difference.wanted)})"
            ]
        case Kind.UNIQUE_NAME:
            return _named(model, difference)
        case Kind.CHECK if difference.found == "not enforced":
            return [f"ALTER TABLE {table} ALTER CHECK {difference.name} ENFORCED"]
    return _from_django(model, difference)


def _from_django(model: type[Model], difference: Difference) -> list[str]:
    """The statements that Django would write in a migration."""
    with connection.schema_editor(collect_sql=True) as editor:
        match difference.kind:
            case Kind.TABLE_MISSING:
                editor.create_model(model)
            case Kind.COLUMN_MISSING:
                editor.add_field(model, _field(model, difference.name))
            case Kind.UNIQUE if difference.name in {field.column for field in model._meta.fields}:
                editor.execute(editor._create_unique_sql(model, [_field(model, difference.name)]))  # type: ignore[attr-defined]
            case Kind.UNIQUE | Kind.CHECK:
                constraints = {each.name: each for each in model._meta.constraints}
                editor.add_constraint(model, constraints[difference.name])
            case Kind.INDEX:
                indexes = {each.name: each for each in model._meta.indexes}
                editor.add_index(model, indexes[difference.name])
            case Kind.FOREIGN_KEY:
                field = _field(model, difference.name)
                for name in _yielding_keys(difference):
                    editor.execute(editor._delete_fk_sql(model, name))  # type: ignore[attr-defined]
                suffix = "_fk_%(to_table)s_%(to_column)s"
                editor.execute(editor._create_fk_sql(model, field, suffix))  # type: ignore[attr-defined]
            case kind if kind in OF_A_COLUMN:
                _rewrite(editor, model, difference.name)
    return [statement.rstrip(";") for statement in editor.collected_sql]


def _yielding_keys(difference: Difference) -> list[str]:
    """Drop the column's foreign keys that delete along: two rules for one reference contradict each other."""
    found = reading.tables([difference.table]).get(difference.table)
    keys = found.foreign_keys.items() if found else ()
    return [name for name, key in keys if key.column == difference.name and not key.is_firm]


def _rewrite(editor: Any, model: type[Model], column: str) -> None:
    field = _field(model, column)
    definition, parameters = editor.column_sql(model, field)
    if suffix := field.db_type_suffix(connection=connection):
        definition += f" {suffix}"
    definition = definition.replace(" PRIMARY KEY", "")  # the column is the primary key already
    table, name = connection.ops.quote_name(model._meta.db_table), connection.ops.quote_name(column)
    editor.execute(f"ALTER TABLE {table} MODIFY {name} {definition}", parameters)


def _named(model: type[Model], difference: Difference) -> list[str]:
    """Rename the index that does the constraint's work; add ours if its columns are in another order."""
    columns = wanted.tables()[difference.table].uniques[difference.name]
    found = reading.tables([difference.table])[difference.table].uniques
    same = [name for name, on in found.items() if on == columns]
    if not same:
        unique = Difference(table=difference.table, kind=Kind.UNIQUE, name=difference.name)
        return _from_django(model, unique)
    quote = connection.ops.quote_name
    return [
        f"ALTER TABLE {quote(difference.table)} RENAME INDEX {quote(same[0])} TO {quote(difference.name)}"
    ]


def _field(model: type[Model], column: str) -> Any:
    return next(field for field in model._meta.local_concrete_fields if field.column == column)
