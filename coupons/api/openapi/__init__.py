"""The OpenAPI document, in Korean and in English: drf-spectacular makes it from the views, this completes it.

``describing.py``   what a view says of itself: name, parameters, the answer, the codes that it refuses with
``texts.py``        summaries and descriptions, in both languages
``parameters.py``   ids with their bounds, the language
``schemas.py``      refusals and the statuses of a request, as exactly as they are answered
``answers.py``      every status of an operation, with its codes, headers and an example of each
``document.py``     puts it all together, once for each language

``tests/contract/test_openapi.py`` holds real answers against it, ``test_generated_calls.py`` thousands of
generated ones.
"""
