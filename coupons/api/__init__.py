"""HTTP, and nothing else: routes, serializers, errors as JSON, messages in two languages.

``front.py``           claims, ahead of Django; ``claims.py`` the claim itself, plain values in and out
``lookups_first.py``   status and queue size, ahead of Django; ``lookups.py`` what they answer
``actuator_routes.py`` health, info and metrics, on the API's port and the consumer's
``views.py``, ``urls.py``, ``serializers.py``, ``negotiation.py``, ``converters.py``   what Django serves
``openapi/``           the document that describes all of it
``cors.py``            pages of other origins; ``limits.py`` how often anybody may ask, and from where
``callers.py``         who asks, and what they may; ``security.py``: the same for the OpenAPI document
``errors.py``, ``messages.py``, ``replies.py``   every refusal's code, words and bytes
``hosts.py``           which Host headers are ours
"""
