"""The base of every list of the admin, which stays fast on tables of many million rows.

No list counts its table, sorts by a column without an index, or searches with LIKE.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.db.models import Field, ForeignKey, Model, QuerySet
from django.forms import ModelForm, NumberInput, SplitDateTimeField, Textarea, TextInput
from django.http import HttpRequest, HttpResponseRedirect
from django.utils import timezone
from unfold.admin import ModelAdmin as UnfoldAdmin
from unfold.decorators import display
from unfold.widgets import INPUT_CLASSES

from coupons.admin.names import text
from coupons.models import Coupon, User

if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[Model]
    _Paginator = Paginator[Model]
else:
    _ModelAdmin = UnfoldAdmin
    _Paginator = Paginator

#: Rows that a list counts and pages through. More, and each page of a large table takes longer; fewer, and
#: more rows are found by searching only.
_ROWS_COUNTED: Final = 10_000


#: A column's method that gives a key and the word that is shown for it.
Labelled = Callable[[Any, Any], tuple[str, str]]


def labelled(*, description: Any, kinds: Mapping[str, str]) -> Callable[[Labelled], Labelled]:
    """A column shown as labels. ``kinds``: unfold's success, info, warning or danger, by key; else grey."""
    decorate: Callable[[Labelled], Labelled] = display(description=description, label=dict(kinds))
    return decorate


class BoundedPaginator(_Paginator):
    """Counts up to 10,000 rows and pages through them; a search finds older ones."""

    @cached_property
    def count(self) -> int:
        rows = self.object_list
        return rows.order_by()[:_ROWS_COUNTED].count() if isinstance(rows, QuerySet) else len(rows)


class WholeChangeList(ChangeList):
    """Knows that a list without a search shows all, although nobody counts the whole table."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        if not self.query and not self.get_filters_params():
            self.full_result_count = self.result_count  # "2 results (show all)" stands above searches alone


class NamedChangeList(WholeChangeList):
    """Gives its rows the names of their coupons and users: two queries for a page of the list.

    A join would be one query, and MySQL may sort the whole table for it.
    """

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        rows: list[Any] = list(self.result_list)
        coupons = Coupon.objects.in_bulk({each for row in rows if (each := row.coupon_id)})
        users = User.objects.in_bulk({each for row in rows if (each := row.user_id)})
        for row in rows:
            row.named_coupon = str(coupons.get(row.coupon_id, row.coupon_id or "-"))
            row.named_user = str(users.get(row.user_id, row.user_id or "-"))
        self.result_list = rows


class OwnedChangeList(WholeChangeList):
    """Gives its rows the names of their customers."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        rows: list[Any] = list(self.result_list)
        users = User.objects.in_bulk([row.user_id for row in rows])
        for row in rows:
            row.named_user = str(users.get(row.user_id, row.user_id))
        self.result_list = rows


class LargeTableAdmin(_ModelAdmin):
    """A list of the newest rows, and a search by exact ids."""

    #: what a search term may be: its prefix (``coupon`` of ``coupon:1``; empty for a bare id) -> column
    search_columns: ClassVar[Mapping[str, str]] = {"": "pk"}
    #: filters that are offered once the list is narrowed to a coupon, a user or a search
    narrow_filters: ClassVar[Sequence[str]] = ()

    search_fields = ("pk",)  # shows the box; get_search_results() does the search
    ordering = ("-pk",)
    sortable_by = ()
    paginator = BoundedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER  # facets count every filter's rows
    list_per_page = 50
    actions: Any = None  # "delete selected" could empty a whole table

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[WholeChangeList]:
        return WholeChangeList

    def get_list_filter(self, request: HttpRequest) -> Sequence[str]:  # type: ignore[override]
        is_narrow = any(request.GET.get(name) for name in ("q", "coupon_id", "user_id"))
        return self.narrow_filters if is_narrow else ()

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Model], search_term: str
    ) -> tuple[QuerySet[Model], bool]:
        """The rows for which every term holds. Django's own search would compare ids as text, row by row."""
        try:
            for term in search_term.split():
                column, value = self._column_and_value(term)
                queryset = queryset.filter(**{column: value})
        except ValidationError as error:
            self.message_user(request, error.messages[0], messages.WARNING)
            return queryset.none(), False
        return queryset, False

    def _column_and_value(self, term: str) -> tuple[str, Any]:
        prefix, _, value = term.rpartition(":")
        name = self.search_columns.get(prefix.lower())
        if name is None:
            raise ValidationError(
                text(en="Cannot search for {term}. ", ko="{term}(으)로 검색할 수 없습니다. ").format(
                    term=term
                )
                + str(self.search_help_text or "")
            )
        meta = self.model._meta
        field = cast("Field[Any, Any]", meta.pk if name == "pk" else meta.get_field(name))
        if isinstance(field, ForeignKey):
            field = field.target_field
        number = field.to_python(value)
        field.run_validators(number)  # beyond 2^63 - 1 a database raises
        return name, number

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        try:
            return super().changelist_view(request, extra_context)
        except OverflowError:  # an id in the address that no column holds
            self.message_user(request, text(en="There is no such ID.", ko="없는 ID입니다."), messages.WARNING)
            return HttpResponseRedirect(request.path)


def zone() -> str:
    """The zone of the times that the admin shows and takes; the database's are UTC."""
    offset = timezone.localtime().strftime("%z")
    return f"{timezone.get_current_timezone_name()}, UTC{offset[:3]}:{offset[3:]}"


class LiveForm(ModelForm):  # type: ignore[type-arg]
    """Knows the values that its reader saw: other people's changes must not count as the reader's edit."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            if isinstance(field.widget, (TextInput, NumberInput, Textarea)):  # unfold dresses columns alone
                field.widget.attrs.setdefault("class", " ".join(INPUT_CLASSES))
            if isinstance(field, SplitDateTimeField):
                field.help_text = text(en="Time zone: {zone}", ko="시간대: {zone}").format(zone=zone())
        if self.instance.pk is not None:
            for field in self.fields.values():
                field.show_hidden_initial = True


class LiveTableAdmin(LargeTableAdmin):
    """Rows that others write while they are edited: only the edited columns are saved."""

    form = LiveForm

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        if not change:
            super().save_model(request, obj, form, change)
            return
        columns = {field.name for field in self.model._meta.concrete_fields}
        edited = [name for name in form.changed_data if name in columns]
        if edited:
            obj.updated_at = timezone.now()
            obj.save(update_fields=[*edited, "updated_at"])
