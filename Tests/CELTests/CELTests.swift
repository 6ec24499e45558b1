import CEL
import JSON
import Testing

@Suite struct CELTests {
  private func value(
    _ source: String, _ variables: [String: CELValue] = [:], types: [String: CELType] = [:]
  ) throws -> CELValue {
    let declared = variables.mapValues { _ in CELType.dyn }.merging(types) { _, type in type }
    var budget = CELProgram.costMax
    return try CELProgram(source, variables: declared).evaluate(variables, budget: &budget)
  }

  @Test(arguments: [
    // Literals and operators.
    "1 + 2 * 3 == 7", "-5 / 2 == -2 && -5 % 2 == -1", "7u - 2u == 5u", "0x1F == 31", "1.5e1 == 15.0",
    "1 == 1.0 && 1u == 1",
    "!(1 > 2)", "-9223372036854775808 < 0", "2 > 1.5", "9007199254740993 > 9007199254740992.0", "'a' + \"b\" == 'ab'",
    "r'\\d' == '\\\\d'", "'''a'b''' == \"a'b\"", "'\\u00e9\\x41\\101\\n' == 'éAA\\n'", "b'\\xff' == b'\\377'",
    "'a' < 'b'",
    "true ? 1 == 1 : false", "[1, 2] + [3] == [1, 2, 3]", "{'a': 1, 'b': 2}.size() == 2", "{'a': 1}.a == 1",
    "[1, 2,][1] == 2",
    "'a' in ['a', 'b'] && !('c' in {'a': 1})", "1.0 / 0.0 > 1e300", "false && (1 / 0 == 1) == false || true",
    "(1 / 0 == 1) || true", "!((1 / 0 == 1) && false)", "dyn(1) != dyn('a')", "null == null",
    "type(1) == int && type('') == string",
    "[1] == dyn([1.0])", "{'a': 1} == dyn({'a': 1.0})", "dyn(1) == dyn('1') || true",
    // Macros.
    "[1, 2, 3].all(x, x > 0)", "[1, 2].exists(x, x == 2)", "[1, 2].exists_one(x, x == 2)",
    "[1, 2, 3].filter(x, x % 2 == 1) == [1, 3]", "[1, 2].map(x, x * 2) == [2, 4]",
    "[1, 2, 3].map(x, x > 1, x + 1) == [3, 4]",
    "{'a': 1, 'b': 2}.all(k, k in ['a', 'b'])", "[0, 1].exists(x, 1 / x == 1)", "[3, 4].all(i, v, v == i + 3)",
    "{'a': 1}.exists(k, v, k == 'a' && v == 1)", "[1, 2].transformList(i, v, i + v) == [1, 3]",
    "{'a': 1}.transformMap(k, v, v + 1) == {'a': 2}", "has({'a': 1}.a) && !has({'a': 1}.b)",
    "cel.bind(x, 2, x * x) == 4",
    // Conversions.
    "int('42') == 42 && int(4.9) == 4", "uint(3) == 3u", "double('1.5') == 1.5",
    "string(1) == '1' && string(1.5) == '1.5'",
    "string(b'abc') == 'abc'", "bytes('é').size() == 2", "bool('true')", "'é'.size() == 1 && size([1]) == 1",
    // Strings.
    "'hello'.contains('ell') && 'hello'.startsWith('he') && 'hello'.endsWith('lo')",
    "'abc'.matches('^a.c$') && matches('x', 'x')",
    "'tacocat'.charAt(3) == 'o' && 'ab'.charAt(2) == ''", "'hello mellow'.indexOf('ello') == 1",
    "'hello mellow'.indexOf('ello', 2) == 7", "'hello mellow'.lastIndexOf('ello') == 7", "'hello'.indexOf('') == 0",
    "['a', 'b'].join('-') == 'a-b' && ['a', 'b'].join() == 'ab'", "'TacoCat'.lowerAscii() == 'tacocat'",
    "'TacoCÆt'.upperAscii() == 'TACOCÆT'",
    "'hello'.replace('l', 'L') == 'heLLo' && 'hello'.replace('l', 'L', 1) == 'heLlo'",
    "'a b c'.split(' ') == ['a', 'b', 'c'] && 'a b c'.split(' ', 2) == ['a', 'b c'] && 'ab'.split('') == ['a', 'b']",
    "'tacocat'.substring(4) == 'cat' && 'tacocat'.substring(0, 4) == 'taco'", "' \\t a '.trim() == 'a'",
    "'abc'.reverse() == 'cba'",
    "'a %s is %d, %.2f, %x'.format(['b', 3, 1.005, 255]) == 'a b is 3, 1.00, ff'",
    "'%s'.format([[1, 'a']]) == '[1, a]'",
    "'abc 123'.find('[0-9]+') == '123' && 'x'.find('[0-9]') == ''", "'1 2 3'.findAll('[0-9]') == ['1', '2', '3']",
    "'1 2 3'.findAll('[0-9]', 2) == ['1', '2']",
    // Lists and sets.
    "[1, 2, 2].isSorted() && ![2, 1].isSorted()", "[1, 2].sum() == 3 && [].sum() == 0", "['a', 'c'].max() == 'c'",
    "[2.5, 1.5].min() == 1.5",
    "[1, 2, 1].indexOf(1) == 0 && [1, 2, 1].lastIndexOf(1) == 2", "sets.contains([1, 2], [1])",
    "sets.equivalent([1, 2], [2, 1, 1])",
    "sets.intersects([1], [1, 2])", "[1, 1, 2].distinct() == [1, 2]", "[[1], [2]].flatten() == [1, 2]",
    // Time.
    "timestamp('2026-02-28T23:00:00Z') + duration('2h') == timestamp('2026-03-01T01:00:00Z')",
    "timestamp('2024-02-29T12:34:56.789+01:00').getHours() == 11",
    "timestamp('2024-02-29T23:00:00Z').getDayOfYear() == 59",
    "timestamp('2024-02-29T23:30:00Z').getDate('+01:00') == 1", "timestamp('2024-02-29T00:00:00Z').getDayOfWeek() == 4",
    "duration('1h30m').getMinutes() == 90", "duration('1h') > duration('59m59s')", "string(duration('1m30s')) == '90s'",
    "timestamp('2024-01-01T00:00:01Z') - timestamp('2024-01-01T00:00:00Z') == duration('1s')",
    "string(timestamp('1969-12-31T23:59:59Z')) == '1969-12-31T23:59:59Z'",
    // Kubernetes' libraries.
    "quantity('1.5Gi').isGreaterThan(quantity('1G'))", "quantity('500m').add(quantity('500m')).asInteger() == 1",
    "!isQuantity('1.1.1') && isQuantity('10Mi')", "quantity('1k').compareTo(quantity('1000')) == 0",
    "quantity('-1').sign() == -1",
    "url('https://user@example.com:80/a%20b?x=1&x=2').getHostname() == 'example.com'",
    "url('https://example.com:80/a?x=1&x=2').getQuery() == {'x': ['1', '2']}", "!isURL('../a') && isURL('/absolute')",
    "url('https://[::1]:80/').getPort() == '80'", "ip('::1').isLoopback() && ip('10.0.0.1').family() == 4",
    "ip.isCanonical('::1') && !ip.isCanonical('0:0::1')",
    "!isIP('1.2.3') && !isIP('::ffff:1.2.3.4') && !isIP('01.2.3.4')",
    "cidr('10.0.0.0/8').containsIP('10.1.2.3') && !cidr('10.0.0.0/8').containsCIDR('0.0.0.0/0')",
    "cidr('10.1.2.3/8').masked() == cidr('10.0.0.0/8') && cidr('::/64').prefixLength() == 64",
    "['1.1.1.1'].all(ip, isIP(ip))",
    // Optionals.
    "{'a': {'b': 1}}.?a.?b.orValue(0) == 1 && {'a': 1}[?'b'].orValue(2) == 2", "!optional.none().hasValue()",
    "optional.of(1).optMap(x, x + 1).value() == 2", "[?optional.none(), ?optional.of(1)] == [1]",
    "{?'a': optional.none()} == {}",
    "optional.none().or(optional.of(1)).value() == 1", "optional.ofNonZeroValue('').orValue('x') == 'x'",
  ])
  func anExpressionIsTrue(_ source: String) throws {
    #expect(try value(source).bool == true, "\(source)")
  }

  @Test(arguments: [
    ("1 / 0", "division by zero"), ("1 % 0", "modulus by zero"), ("9223372036854775807 + 1", "integer overflow"),
    ("{'a': 1}.b", "no such key: b"), ("[1][1]", "index out of bounds: 1"), ("0u - 1u", "unsigned integer overflow"),
    ("int('x')", "type conversion error from 'string' to 'int'"), ("'a'.charAt(2)", "index out of range: 2"),
    ("{'a': 1, 'a': 2}", "Failed with repeated key"), ("optional.none().value()", "optional.none() dereference"),
    ("[].min()", "min called on empty list"), ("dyn('a') > dyn(1)", "no such overload: _>_(string, int)"),
    (
      "timestamp('2024-01-01T00:00:00Z').getHours('Europe/Paris')",
      "unknown time zone Europe/Paris; name it by its offset, such as +01:00"
    ),
    ("'a'.matches(dyn('('))", "error parsing regexp: missing closing ): `(`"),
    ("timestamp('9999-12-31T23:59:59Z') + duration('1s')", "timestamp overflow"),
    ("true && dyn(1)", "no such overload"),
  ])
  func aFailureSaysWhatItIs(_ source: String, _ message: String) {
    let problem = #expect(throws: CELProblem.self) { try value(source) }
    #expect(problem?.message == message)
    #expect(problem?.reason == .evaluation)
  }

  @Test(arguments: [
    ("foo == 1", "ERROR: <input>:1:1: undeclared reference to 'foo' (in container '')\n | foo == 1\n | ^"),
    ("self.sec == 1", "ERROR: <input>:1:5: undefined field 'sec'\n | self.sec == 1\n | ....^"),
    ("self.size +\n self.sze > 1", "ERROR: <input>:2:6: undefined field 'sze'\n |  self.sze > 1\n | .....^"),
    (
      "self.size > 'a'",
      "ERROR: <input>:1:11: found no matching overload for '_>_' applied to '(int, string)'\n | self.size > 'a'\n | ..........^"
    ),
    ("self.size && true", "ERROR: <input>:1:5: expected type 'bool' but found 'int'\n | self.size && true\n | ....^"),
    (
      "self.name.foo()",
      "ERROR: <input>:1:10: undeclared reference to 'foo' (in container '')\n | self.name.foo()\n | .........^"
    ),
    (
      "self.size.startsWith('a')",
      "ERROR: <input>:1:10: found no matching overload for 'startsWith' applied to 'int.(string)'\n | self.size.startsWith('a')\n | .........^"
    ),
    (
      "self.name.matches('(')",
      "ERROR: <input>:1:19: error parsing regexp: missing closing ): `(`\n | self.name.matches('(')\n | ..................^"
    ),
    (
      "self.size.all(x, true)",
      "ERROR: <input>:1:5: expression of type 'int' cannot be range of a comprehension (must be list, map, or dynamic)\n"
        + " | self.size.all(x, true)\n | ....^"
    ),
    ("has(self)", "ERROR: <input>:1:1: invalid argument to has() macro\n | has(self)\n | ^"),
    ("1 +", "ERROR: <input>:1:4: Syntax error: mismatched input <EOF>\n | 1 +\n | ...^"),
    ("a.b @ c", "ERROR: <input>:1:5: Syntax error: token recognition error at: '@'\n | a.b @ c\n | ....^"),
    ("'abc", "ERROR: <input>:1:1: Syntax error: token recognition error at: ''abc'\n | 'abc\n | ^"),
    ("[1, 2", "ERROR: <input>:1:6: Syntax error: mismatched input <EOF>\n | [1, 2\n | .....^"),
    ("99999999999999999999", "ERROR: <input>:1:1: Syntax error: invalid int literal\n | 99999999999999999999\n | ^"),
    ("Foo{a: 1}", "ERROR: <input>:1:1: undeclared reference to 'Foo' (in container '')\n | Foo{a: 1}\n | ^"),
    ("for", "ERROR: <input>:1:1: reserved identifier: for\n | for\n | ^"),
  ])
  func aMistakeIsFoundBeforeItIsEvaluated(_ source: String, _ message: String) {
    let type = CELType.object(CELObjectType(name: "object", fields: ["size": .int, "name": .string]))
    do throws(CELProblem) {
      _ = try CELProgram(source, variables: ["self": type])
      Issue.record("\(source) was accepted")
    } catch {
      #expect(error.message == message)
      #expect(error.reason == .compilation)
    }
  }

  @Test func aDocumentIsReadAsItIs() throws {
    let object = try JSONValue.parse(
      Array(#"{"spec": {"replicas": 3, "ratio": 0.5, "names": ["a", "b"], "none": null}}"#.utf8))
    let variables = ["object": CELValue(object)]
    #expect(try value("object.spec.replicas == 3 && object.spec.ratio < 1.0", variables).bool == true)
    #expect(try value("object.spec.names.all(n, n.size() == 1) && object.spec.none == null", variables).bool == true)
    #expect(try value("object", variables).json == object)
    #expect(
      try CELProgram("variables.a + variables.b", variables: ["variables": .dyn]).usedMembers["variables"] == [
        "a", "b",
      ])
    #expect(try CELProgram("[1].all(object, object == 1)", variables: ["object": .dyn]).usedVariables == [])
  }

  /// Two lists that hold lists, forty deep, each twice.
  private static func nested(_ body: String) -> String {
    ["a", "b"].reduce(body) { inner, name in
      (0..<40).reduce(inner) { inner, depth in
        depth == 39 ? "cel.bind(\(name), [1], \(inner))" : "cel.bind(\(name), [\(name), \(name)], \(inner))"
      }
    }
  }

  @Test(arguments: [
    "[1,2,3,4,5,6,7,8,9,10].all(a, [1,2,3,4,5,6,7,8,9,10].all(b, [1,2,3,4,5,6,7,8,9,10].all(c, [1,2,3,4,5,6,7,8,9,10].all(d, "
      + "[1,2,3,4,5,6,7,8,9,10].all(e, [1,2,3,4,5,6,7,8,9,10].all(f, a + b + c + d + e + f > 0))))))",
    "l.all(x, l.all(y, l.all(z, true)))", "l.map(x, l.map(y, l.map(z, z))).size() > 0",
    "'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'.replace('a', t).replace('a', t).replace('a', t).size() > 0",
    "l.all(x, t.matches('(a|aa)+$'))", "cel.bind(m, l.map(x, l).flatten(), m.map(x, m).flatten().size() > 0)",
    "l.map(x, l.map(y, l)).flatten().flatten().map(x, l).flatten().size() > 0", nested("a == b"), nested("a in [b]"),
    nested("sets.contains(a, b)"), nested("'%s'.format([a]) == ''"), nested("a.indexOf(b[0]) == 0"),
    nested("a.distinct().size() > 0"),
  ])
  func whatTakesTooLongIsStopped(_ source: String) throws {
    let list = CELValue.list((0..<200).map { .int($0) })
    let text = CELValue.string(String(repeating: "a", count: 10_000))
    var budget = CELProgram.costMax
    let program = try CELProgram(source, variables: ["l": .list(.int), "t": .string])
    let problem = #expect(throws: CELProblem.self) { try program.evaluate(["l": list, "t": text], budget: &budget) }
    #expect(problem?.reason == .cost)
    #expect(budget <= 0)
  }

  @Test(arguments: [
    String(repeating: "(", count: 5_000) + "1", String(repeating: "[", count: 5_000),
    String(repeating: "!", count: 99_999),
    String(repeating: "-", count: 99_999), String(repeating: "1+", count: 40_000) + "1",
    "a" + String(repeating: ".a", count: 40_000),
    String(repeating: "1?", count: 40_000), String(repeating: "true && ", count: 10_000),
    "{" + String(repeating: "'a':{", count: 9_000),
    String(repeating: "a", count: 200_000), "\u{0}", "'\\u{", "b'\\u0041'", "1.", ".1.", "`", "\"\"\"",
  ])
  func hostileTextIsRefused(_ source: String) {
    #expect(throws: CELProblem.self) { try CELProgram(source, variables: [:]) }
  }

  @Test(arguments: 0..<10) func noTextStopsTheProgram(_ seed: Int) {
    var random = Seeded(state: UInt64(seed))
    let parts = [
      "self", ".", "size", "(", ")", "[", "]", "{", "}", ",", ":", "?", "'a'", "1", "-", "+", "!", "&&", "||", "==",
      "in", "has(",
      "all(x,", "map(", "1.5", "2u", "null", "true", "x", "<", "%", "b'a'", ".?", "optional.of(", "duration('1s')",
      "quantity('1')",
    ]
    for _ in 0..<500 {
      let source = (0..<Int.random(in: 1...12, using: &random)).map { _ in parts.randomElement(using: &random) ?? "" }
        .joined(separator: " ")
      var budget = 10_000
      _ = try? CELProgram(source, variables: ["self": .dyn]).evaluate(["self": CELValue(["size": 1])], budget: &budget)
    }
  }

  @Test(arguments: [
    ("a-b", "a__dash__b"), ("a.b", "a__dot__b"), ("a/b", "a__slash__b"), ("a__b", "a__underscores__b"),
    ("namespace", "__namespace__"),
    ("true", "__true__"), ("plain", "plain"), ("1a", nil), ("ä", nil),
  ])
  func namesAreWrittenSoThatTheyCanBeNamed(_ name: String, _ escaped: String?) {
    #expect(CELNames.escaped(name) == escaped)
  }
}

/// SplitMix64.
private struct Seeded: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }
}
