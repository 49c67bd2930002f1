"""Files in the admin: a CSV is uploaded and checked, its errors are shown by line, and then it is imported.

The same code as `manage.py import_csv`, which takes files of any size. Between the check and the import the
file waits in the page itself, signed: any process of any machine goes on with it, and nothing is left behind.

Both take some seconds, and show how far they are (progress.py).
"""

from __future__ import annotations

import io
import uuid
from typing import Any, Final

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.models import ADDITION, LogEntry
from django.contrib.auth import get_user_model
from django.contrib.contenttypes.models import ContentType
from django.core import signing
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Model
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse

from coupons.admin import progress
from coupons.admin.import_words import COLUMNS, TITLES, WORDS, said
from coupons.admin.progress import Progress
from coupons.models import Coupon, EligibleUser, User
from coupons.operations.importing import checking, writing
from coupons.operations.importing.checking import Checked
from coupons.operations.importing.rows import Kind

#: Bytes: some 60,000 users or 100,000 entries of a list, some seconds of a worker's thread. More, and claims
#: of that worker are slower for longer, and a proxy gives up; less, and the command is needed more often.
MOST_BYTES: Final = 2_000_000
WAITS_S: Final = 3600  #: for its confirmation
_SALT: Final = "coupons.admin.imports"

_PERMISSIONS: Final = {
    Kind.USERS: "coupons.add_user",
    Kind.COUPONS: "coupons.add_coupon",
    Kind.ELIGIBLE: "coupons.change_coupon",
}
_MODELS: Final[dict[Kind, type[Model]]] = {
    Kind.USERS: User,
    Kind.COUPONS: Coupon,
    Kind.ELIGIBLE: EligibleUser,
}
_LISTS: Final = {
    Kind.USERS: "admin:coupons_user_changelist",
    Kind.COUPONS: "admin:coupons_coupon_changelist",
    Kind.ELIGIBLE: "admin:coupons_coupon_changelist",
}


def offered(request: HttpRequest) -> list[tuple[str, str]]:
    """Kinds that belong to coupons, and that this person may import, with their titles."""
    return [
        (kind.value, str(TITLES[kind]))
        for kind in (Kind.COUPONS, Kind.ELIGIBLE)
        if request.user.has_perm(_PERMISSIONS[kind])
    ]


class FileForm(forms.Form):
    file = forms.FileField(label=WORDS["file"])

    def clean_file(self) -> str:
        """The file's text."""
        given = self.cleaned_data["file"]
        if given.size > MOST_BYTES:
            told = str(WORDS["tooLarge"]).format(size=f"{given.size:,}", most=f"{MOST_BYTES:,}")
            raise forms.ValidationError(told)
        try:
            found: str = given.read().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise forms.ValidationError(WORDS["noText"]) from error
        return found


def page(request: HttpRequest, kind: str) -> HttpResponse:
    """GET asks for a file; POST checks it and shows what is wrong, or, with a checked file, imports it."""
    try:
        wanted = Kind(kind)
    except ValueError as error:
        raise Http404 from error
    if not request.user.has_perm(_PERMISSIONS[wanted]):
        raise PermissionDenied
    if request.method == "POST" and "checked" in request.POST:
        return _import(request, wanted)
    form = FileForm(request.POST, request.FILES) if request.method == "POST" else FileForm()
    if not form.is_valid():
        return _shown(request, wanted, form)
    read: str = form.cleaned_data["file"]
    found = checking.check(wanted, io.StringIO(read, newline=""), on_progress=_checking(request, read))
    checked = [wanted.value, read, uuid.uuid4().hex]
    waiting = "" if found.error_count else signing.dumps(checked, salt=_SALT, compress=True)
    return _shown(request, wanted, FileForm(), found=found, waiting=waiting)


def _import(request: HttpRequest, kind: Kind) -> HttpResponse:
    try:
        signed_kind, read, number = signing.loads(request.POST["checked"], salt=_SALT, max_age=WAITS_S)
    except signing.BadSignature:
        messages.warning(request, str(WORDS["expired"]))
        return HttpResponseRedirect(request.get_full_path())
    if signed_kind != kind.value:
        raise PermissionDenied
    # Once more: the database may be another one by now, as where a coupon was removed.
    found = checking.check(kind, io.StringIO(read, newline=""), on_progress=_checking(request, read))
    if found.error_count:
        return _shown(request, kind, FileForm(), found=found)
    entry = _log_entry(request.user.pk or 0, kind, number)  # never 0: has_perm() has been asked
    if entry is None:
        messages.warning(request, str(WORDS["again"]))
        return HttpResponseRedirect(reverse(_LISTS[kind]))
    importing = Progress(request, stage="IMPORT", whole=found.rows)
    done = writing.write(kind, io.StringIO(read, newline=""), on_progress=importing)
    LogEntry.objects.filter(pk=entry.pk).update(change_message=f"CSV +{done.made:,}")
    told = str(WORDS["done"]).format(made=f"{done.made:,}", existing=f"{done.existing:,}")
    messages.success(request, told)
    return HttpResponseRedirect(reverse(_LISTS[kind]))


def _log_entry(user_id: int, kind: Kind, number: str) -> LogEntry | None:
    """The history's entry of this import; None if there is one: a second click, or a page sent again.

    Coupons without ids would be made twice.
    """
    of_kind = ContentType.objects.get_for_model(_MODELS[kind])
    with transaction.atomic(durable=True):
        get_user_model().objects.select_for_update().get(pk=user_id)  # two clicks, one after the other
        if LogEntry.objects.filter(user_id=user_id, content_type=of_kind, object_id=number).exists():
            return None
        return LogEntry.objects.create(
            user_id=user_id,
            content_type=of_kind,
            object_id=number,
            action_flag=ADDITION,
            object_repr=f"{kind.value}.csv",
            change_message="CSV",
        )


def _checking(request: HttpRequest, read: str) -> Progress:
    lines = read.count("\n") + (not read.endswith("\n"))
    return Progress(request, stage="CHECK", whole=max(0, lines - 1))  # the head is no row


def _shown(
    request: HttpRequest, kind: Kind, form: FileForm, *, found: Checked | None = None, waiting: str = ""
) -> HttpResponse:
    most = f"{MOST_BYTES / 1_000_000:.0f} MB"
    context: dict[str, Any] = {
        **admin.site.each_context(request),
        "title": TITLES[kind],
        "words": {name: str(each) for name, each in WORDS.items()},
        "columns": str(WORDS["columns"]).format(columns=COLUMNS[kind], most=most),
        "form": form,
        "waiting": waiting,
        "progress": progress.offered(str(WORDS["starting" if waiting else "sending"])),
        "back": reverse(_LISTS[kind]),
        "opts": (User if kind is Kind.USERS else Coupon)._meta,  # whose list the page's links lead to
    }
    if found is not None and found.error_count:
        context["told"] = str(WORDS["wrong"]).format(errors=f"{found.error_count:,}")
        context["errors"] = [(each.line, said(each)) for each in found.errors]
        if found.error_count > len(found.errors):
            context["more"] = str(WORDS["more"]).format(shown=len(found.errors))
    elif found is not None:
        context["told"] = str(WORDS["ready"]).format(rows=f"{found.rows:,}")
    return TemplateResponse(request, "admin/coupons/import.html", context)
