# One image, three roles: the API (the default command), the consumer, and the one-shot commands.
# docker-compose.yml puts them together.

# Debian 12 on purpose: from Debian 13 on, its database client insists on a certificate that it can
# verify, and MySQL's own default certificate is not one.
ARG PYTHON_IMAGE=python:3.11.13-slim-bookworm

# --- Dependencies, with the compiler that mysqlclient needs and the running image does not.
FROM ${PYTHON_IMAGE} AS dependencies

RUN apt-get update \
    && apt-get install --yes --no-install-recommends build-essential default-libmysqlclient-dev pkg-config \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /build
COPY requirements.txt ./
COPY requirements/base.txt requirements/tracing.txt requirements/
RUN python -m venv --without-pip /opt/venv \
    && pip --python /opt/venv/bin/python install --no-cache-dir --requirement requirements.txt

# What COUPON_TRACING=true needs: `docker build --build-arg TRACING=true`. Nothing can be added to what runs.
ARG TRACING=false
RUN test "$TRACING" != true \
    || pip --python /opt/venv/bin/python install --no-cache-dir --requirement requirements/tracing.txt

# --- The static files of the admin and of Swagger UI, gathered once.
FROM dependencies AS static

WORKDIR /app
COPY manage.py ./
COPY runtime runtime
COPY couponsite couponsite
COPY coupons coupons
COPY consumer consumer
RUN SECRET_KEY=build COUPON_LOG_DIR=/tmp/logs /opt/venv/bin/python manage.py collectstatic --noinput

# --- What runs.
FROM ${PYTHON_IMAGE}

RUN apt-get update \
    && apt-get install --yes --no-install-recommends libmariadb3 \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 coupon \
    && useradd --uid 10001 --gid coupon --no-create-home --home-dir /app --shell /usr/sbin/nologin coupon

ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    COUPON_API_HOST=0.0.0.0 \
    COUPON_LOG_DIR=/app/logs

WORKDIR /app
COPY --from=dependencies /opt/venv /opt/venv
COPY --from=static /app /app
# The application cannot change its own code: only its logs are its own, and where Compose keeps its key.
RUN mkdir logs /run/coupon-system && chown coupon:coupon logs /run/coupon-system

# By number, so that Kubernetes can see that it is not root.
USER 10001:10001
VOLUME /app/logs
EXPOSE 8080 8081

CMD ["gunicorn", "-c", "couponsite/gunicorn_conf.py", "couponsite.wsgi"]
