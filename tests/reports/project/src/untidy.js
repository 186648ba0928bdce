// What the rules of eslint.config.js find here is expected by the tests.

function untidy(value) {
  var unused = 1;
  if (value == null) return "nothing";
  // eslint-disable-next-line eqeqeq -- kept on purpose
  return value == "" ? "empty" : value;
}

module.exports = { untidy };
