// SPDX-License-Identifier: MIT
'use strict';

// Loads what services commonly load, compiles its templates, then listens on the port of its first argument.
const http = require('node:http');
require('node:https');
require('node:crypto');
require('node:zlib');
require('node:stream/promises');
require('node:worker_threads');
const os = require('node:os');

const { compile } = require('./lib/template');
const { Router } = require('./lib/router');
const posts = require('./lib/posts');

const page = compile('<!doctype html><title>A garden</title>{{#posts}}<p>{{title}}: {{body}}</p>\n{{/posts}}' +
                     '<p>{{request}} from {{client}}, answered by {{host}}, process {{pid}}.</p>\n');

function facts(request) {
  return {
    request: `${request.method} ${request.url}`,
    client: request.socket.remoteAddress,
    client_port: String(request.socket.remotePort),
    host: os.hostname(),
    pid: process.pid,
  };
}

function send(response, type, text) {
  response.writeHead(200, { 'Content-Type': type, 'Content-Length': Buffer.byteLength(text) });
  response.end(text);
}

const router = new Router();
router.get('/', (request, response) => send(response, 'text/html', page({ ...facts(request), posts: posts.all() })));
router.get('/who', (request, response, query) => { // ?sleep=MS answers late
  const late = Math.min(60000, Number(query.get('sleep') || 0));
  setTimeout(() => send(response, 'application/json', JSON.stringify(facts(request))), late);
});
router.get('/find', (request, response, query) =>
  send(response, 'application/json', JSON.stringify(posts.find(query.get('word') || ''))));

http.createServer((request, response) => router.answer(request, response))
  .listen({ port: Number(process.argv[2]), host: '0.0.0.0', backlog: 4096 });
for (const signal of ['SIGTERM', 'SIGINT']) {
  process.on(signal, () => process.exit(0));
}
