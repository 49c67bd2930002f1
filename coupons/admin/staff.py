"""Those who log in to the admin: Django's own pages in the admin's looks, with readable permissions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django import forms
from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, Permission
from django.contrib.auth.models import User as StaffUser
from django.db.models import Q
from django.http import HttpRequest
from django.utils.translation import get_language
from unfold.admin import ModelAdmin
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget

from coupons.admin import groups
from coupons.admin.names import text

if TYPE_CHECKING:
    _Looks = object
    _PermissionField = forms.ModelMultipleChoiceField[Permission]
else:
    _Looks = ModelAdmin
    _PermissionField = forms.ModelMultipleChoiceField

_MAY: Final = {
    "view": text(en="see", ko="보기"),
    "add": text(en="add", ko="추가"),
    "change": text(en="change", ko="변경"),
    "delete": text(en="delete", ko="삭제"),
}
#: Tables that the admin shows. Permissions for others do nothing here.
_SHOWN: Final = {
    "coupons": ("coupon", "usercoupon", "issueoutcome", "deadletter", "user", "point"),
    "auth": ("user", "group"),
}

admin.site.unregister(StaffUser)
admin.site.unregister(Group)


def _full_name(self: StaffUser) -> str:
    """In the order of the reader's language: Django has the given name first, and Koreans do not."""
    is_korean = (get_language() or "en").startswith("ko")
    parts = (self.last_name, self.first_name) if is_korean else (self.first_name, self.last_name)
    return ("" if is_korean else " ").join(parts).strip()


StaffUser.get_full_name = _full_name  # type: ignore[method-assign, assignment]


class PermissionsField(_PermissionField):
    """Permissions in the words of the menu, for the tables that it has."""

    def label_from_instance(self, obj: Permission) -> str:
        model = obj.content_type.model_class()
        table = model._meta.verbose_name_plural if model else obj.content_type.name
        verb = obj.codename.partition("_")[0]
        return f"{table}: {_MAY.get(verb, obj.name)}"


def _grantable() -> Any:
    tables = Q()
    for app, models in _SHOWN.items():
        tables |= Q(content_type__app_label=app, content_type__model__in=models)
    return Permission.objects.filter(tables).select_related("content_type").order_by("content_type", "pk")


class _Ticked(_Looks):
    """Groups and permissions as boxes to tick: two lists side by side are too wide for a phone."""

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        kwargs["widget"] = UnfoldAdminCheckboxSelectMultipleWidget()
        if db_field.remote_field.model is Permission:
            kwargs |= {"form_class": PermissionsField, "queryset": _grantable()}
        return super().formfield_for_manytomany(db_field, request, **kwargs)  # type: ignore[misc]


@admin.register(StaffUser)
class StaffAdmin(_Ticked, UserAdmin):  # type: ignore[type-arg]
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_display = ("username", "name", "is_active", "is_superuser", "last_login")
    filter_horizontal = ()

    @admin.display(description=text(en="name", ko="이름"))
    def name(self, staff: StaffUser) -> str:
        return staff.get_full_name() or "-"


@admin.register(Group)
class StaffGroupAdmin(_Ticked, GroupAdmin):  # type: ignore[misc]
    filter_horizontal = ()

    def get_urls(self) -> list[Any]:
        return [*groups.urls(), *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        return super().changelist_view(request, {"usual": groups.BUTTON, **(extra_context or {})})
