// SPDX-License-Identifier: MIT
'use strict';

// Posts, and an index of their words that is built when the module is loaded.
const COUNT = 5000;
const WORDS = ['frog', 'pond', 'moss', 'gate', 'stone', 'water', 'autumn', 'heron', 'bridge', 'lantern', 'pine', 'rain'];

const posts = Array.from({ length: COUNT }, (_, n) => ({
  title: `Post ${n}`,
  body: Array.from({ length: 6 }, (__, i) => WORDS[(n * (i + 3) + i) % WORDS.length]).join(' '),
}));
const index = new Map();
for (const [number, post] of posts.entries()) {
  for (const word of new Set(post.body.split(' '))) {
    if (!index.has(word)) {
      index.set(word, []);
    }
    index.get(word).push(number);
  }
}

module.exports = {
  all: () => posts.slice(0, 10),
  find: (word) => (index.get(word) || []).map((number) => posts[number].title),
};
