"""One URL, whatever the path, and a constant answer by Django REST framework."""

from django.urls import re_path
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from dev.bench.sites.answer import ANSWER


class Constant(APIView):
    def post(self, request: Request) -> Response:
        return Response(ANSWER)

    get = post


urlpatterns = [re_path("", Constant.as_view())]
