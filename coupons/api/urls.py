"""The API's routes below /api/."""

from django.urls import path, register_converter

from coupons.api import claims, views
from coupons.api.converters import IdConverter, RequestIdConverter

register_converter(IdConverter, "id")
register_converter(RequestIdConverter, "request_id")

urlpatterns = [
    path("coupons/<id:coupon_id>", views.CouponView.as_view()),
    path("coupons/<id:coupon_id>/issue", claims.ClaimView.as_view()),
    path("coupons/<id:coupon_id>/queue-size", views.QueueSizeView.as_view()),
    path("coupons/requests/<request_id:request_id>", views.RequestStatusView.as_view()),
    path("coupons/users/<id:user_id>", views.UserCouponsView.as_view()),
    path("schema", views.SchemaView.as_view(), name="schema"),
    path("docs", views.DocsView.as_view(url_name="schema"), name="docs"),
]
