// SPDX-License-Identifier: MIT
'use strict';

const ENTITIES = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' };
const escape = (value) => String(value).replace(/[&<>"]/g, (c) => ENTITIES[c]);

/** '{{name}}' and '{{#list}}…{{/list}}' to a function of the values. */
function compile(text) {
  const [, head, list, inner, tail] = text.match(/^([^]*?)\{\{#(\w+)\}\}([^]*?)\{\{\/\2\}\}([^]*)$/) || [];
  if (list) {
    const [before, each, after] = [head, inner, tail].map(compile);
    return (values) => before(values) + values[list].map((item) => each({ ...values, ...item })).join('') + after(values);
  }
  const parts = text.split(/\{\{(\w+)\}\}/);
  return (values) => parts.map((part, n) => (n % 2 ? escape(values[part]) : part)).join('');
}

module.exports = { compile };
