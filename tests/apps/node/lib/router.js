// SPDX-License-Identifier: MIT
'use strict';

/** Paths, exactly; the rest is not found. */
class Router {
  #routes = new Map();

  get(path, handler) {
    this.#routes.set(path, handler);
  }

  answer(request, response) {
    const url = new URL(request.url, 'http://garden.invalid');
    const handler = request.method === 'GET' && this.#routes.get(url.pathname);
    if (handler) {
      handler(request, response, url.searchParams);
    } else {
      response.writeHead(404);
      response.end();
    }
  }
}

module.exports = { Router };
