#!/bin/bash
# SPDX-License-Identifier: MIT
#
# A small Django project for gunicorn: a page, a template, a late answer. It writes nothing.
set -euo pipefail
dir=${1:?usage: prepare.sh DIR}/django
mkdir -p "$dir/garden/templates"

: >"$dir/garden/__init__.py"
cat >"$dir/garden/settings.py" <<'END'
from pathlib import Path

SECRET_KEY = "only for tests"
DEBUG = False
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "garden.urls"
WSGI_APPLICATION = "garden.wsgi.application"
USE_TZ = True
TIME_ZONE = "UTC"
INSTALLED_APPS = ["django.contrib.staticfiles"]
MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]
STATIC_URL = "/static/"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [Path(__file__).parent / "templates"],
    }
]
END
cat >"$dir/garden/urls.py" <<'END'
import os
import socket
import time

from django.http import JsonResponse
from django.shortcuts import render
from django.urls import path


def facts(request):
    return {
        "request": f"{request.method} {request.get_full_path()}",
        "client": request.META["REMOTE_ADDR"],
        "host": socket.gethostname(),
        "pid": os.getpid(),
    }


def who(request):
    time.sleep(min(60000, int(request.GET.get("sleep", 0))) / 1000)
    return JsonResponse(facts(request))


def page(request):
    return render(request, "page.html", facts(request))


urlpatterns = [path("", page), path("who", who)]
END
cat >"$dir/garden/wsgi.py" <<'END'
from django.core.wsgi import get_wsgi_application

application = get_wsgi_application()
END
cat >"$dir/garden/templates/page.html" <<'END'
<!doctype html><title>niwa</title><p>{{ request }} from {{ client }}, answered by {{ host }}, process {{ pid }}.
END
/usr/bin/python3 -m compileall -q "$dir"
chmod -R u=rwX,go=rX "$dir"
