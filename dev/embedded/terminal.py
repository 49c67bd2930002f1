"""What the person at the terminal reads."""

from __future__ import annotations

from dev.embedded.settings import EmbeddedSettings
from dev.embedded.stack import Server

ADMIN_NAME = "admin"
ADMIN_PASSWORD = "admin"


def welcome(*, settings: EmbeddedSettings, redis: Server, broker: Server) -> str:
    """Where everything is, and three lines to try."""
    api, consumer = settings.api_url, settings.consumer_url
    return f"""
The coupon system is running.

  Coupon 1    {api}/api/coupons/1
  API docs    {api}/api/docs
  Admin       {api}/admin/   user {ADMIN_NAME}, password {ADMIN_PASSWORD} (unless you have changed it)
  Health      {api}/actuator/health        (API)
              {consumer}/actuator/health        (consumer)
  Metrics     {api}/actuator/prometheus    (API)
              {consumer}/actuator/prometheus    (consumer)
  Kafka       {broker.address}   process {broker.process.pid}, {broker.origin}
  Redis       {redis.address}   process {redis.process.pid}, {redis.origin}
  Database    {settings.database}
  Logs        {settings.application_logs}/core/application.log
              {settings.application_logs}/consumer/application.log
              {settings.logs}/*.log   (output of each process)

Try it in a second terminal: claim a coupon, ask for the claim, see the user's coupons.

  curl -i -X POST '{api}/api/coupons/1/issue?userId=1'
  curl '{api}/api/coupons/requests/REQUEST_ID'        (the requestId of the first answer)
  curl '{api}/api/coupons/users/1'

Ctrl-C drains and stops everything."""
