import JSON
import LinearPattern
import Testing

import Glibc

@Suite struct LinearPatternTests {
  @Test(arguments: [
    ("^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", ["a", "a-b", "0"], ["", "-a", "a-", "A"]),
    ("^(a+)+$", ["aaa"], ["aaab", ""]), ("b", ["abc"], ["ac"]), ("^(foo|bar)?$", ["", "foo"], ["fo"]),
    ("(?i)^strasse|\\x{df}$", ["STRASSE", "ß"], ["straße?"]), ("^\\p{Greek}+\\PN$", ["αβγ"], ["αβ3", "ab"]),
    ("^.{1,3}$", ["a", "äöü"], ["", "abcd", "a\n"]), ("(?s)^.$", ["\n"], ["\n\n"]), ("a$", ["ba"], ["a\n"]),
    ("(?m)^b$", ["a\nb\nc"], ["ab"]), ("\\bcat\\b", ["a cat"], ["concat"]), ("\\Qa.b\\E+", ["a.bb"], ["axb"]),
    ("^\\d{3}-\\d{4}$", ["555-1234"], ["555-123", "٥٥٥-١٢٣٤"]), ("x{,2}", ["x{,2}"], ["xx"]),
    ("[[:^alpha:]]", ["1"], ["a"]), ("^[^\\W_]$", ["a"], ["_", "-"]), ("^[]a-]+$", ["]a-"], ["b"]),
    ("(?P<year>\\d+)(?<month>x)", ["12x"], ["12"]), ("", ["", "a"], []), ("(|a)+", ["", "b"], []),
  ])
  func anExpressionMatchesWhatREsTwoSyntaxSays(_ source: String, _ good: [String], _ bad: [String]) throws {
    let pattern = try LinearPattern(source)
    for text in good { #expect(pattern.matches(text) == true, "\(source) \(text)") }
    for text in bad { #expect(pattern.matches(text) == false, "\(source) \(text)") }
  }

  /// What Go's `regexp` answers, expression by expression: `hack/` has no Go, so the answers are kept.
  @Test func answersAreThoseOfTheImplementationThatKubernetesUses() throws {
    let lines = try goldenLines()
    #expect(lines.count > 700)
    for line in lines {
      let row = try JSONValue.parse(Array(line.utf8))
      let (source, text) = (row["pattern"]?.string ?? "", row["text"]?.string ?? "")
      do throws(PatternProblem) {
        let pattern = try LinearPattern(source)
        let wanted = row["found"]?.string
        #expect(row["error"] == nil, "\(line)")
        #expect(pattern.matches(text) == (wanted != nil), "\(line)")
        #expect(pattern.finds(in: text)?.joined(separator: "|") == wanted ?? "", "\(line)")
      } catch {
        #expect("\(error)" == row["error"]?.string, "\(line)")
      }
    }
  }

  @Test(arguments: [
    "^(a+)+$", "(a|a)*$", "(a*)*b", "(a|aa)+$", "^(.*)*x$", "(x+x+)+y", "([a-z]+)*=", "^(([a-z])+.)+[A-Z]([a-z])+$",
    "(.*)(.*)(.*)(.*)(.*)(.*)(.*)=", "a{1,100}a{1,100}$b", "(?:a?){30}a{30}b",
  ])
  func hostileExpressionsTakeStepsInProportionToTheText(_ source: String) throws {
    let pattern = try LinearPattern(source)
    var (short, long) = (0, 0)
    _ = pattern.matches(String(repeating: "a", count: 1_000) + "!", steps: &short)
    _ = pattern.matches(String(repeating: "a", count: 4_000) + "!", steps: &long)
    #expect(short > 0 && long <= short * 5)
  }

  @Test(arguments: [
    ("(" + String(repeating: "a{10}", count: 3_000) + "){10}", "expression too large"),
    (String(repeating: "a", count: 70_000), "expression too large"),
    (String(repeating: "(", count: 300) + String(repeating: ")", count: 300), "expression nests too deeply"),
    ("((a{100}){100}){100}", "invalid repeat count"), ("a{1001}", "invalid repeat count"),
    ("(a)\\1", "invalid escape sequence"), ("(?=a)b", "invalid or unsupported Perl syntax"),
    ("[a", "missing closing ]"),
  ])
  func whatCannotBeHadIsRefusedByName(_ source: String, _ reason: String) {
    do throws(PatternProblem) {
      _ = try LinearPattern(source)
      Issue.record("\(source.prefix(20)) was read")
    } catch {
      #expect(error.reason == reason)
    }
  }

  @Test func aMatchThatTakesTooLongIsGivenUpAndSaysSo() throws {
    let pattern = try LinearPattern("(?:a|b)*a" + String(repeating: "(?:a|b)", count: 900) + "c")
    var steps = 0
    #expect(pattern.matches(String(repeating: "ab", count: 10_000), steps: &steps, limit: 100_000) == nil)
    #expect(steps < 200_000)
    #expect(pattern.matches("ab", steps: &steps, limit: 100_000) == false)
  }

  /// Of expressions that both understand in the same way.
  @Test(arguments: 0..<20) func benignExpressionsMatchAsAnotherImplementationHasIt(_ seed: Int) throws {
    var random = Seeded(state: UInt64(seed))
    for _ in 0..<20 {
      let source = random.expression(depth: 3)
      let (ours, other) = (try LinearPattern(source), try Regex(source))
      for _ in 0..<5 {
        let text = (0..<Int.random(in: 0...8, using: &random)).map { _ in
          ["a", "b", "c", "1"].randomElement(using: &random) ?? ""
        }.joined()
        #expect(ours.matches(text) == (text.firstMatch(of: other) != nil), "seed \(seed): \(source) in \(text)")
      }
    }
  }

  private func goldenLines() throws -> [Substring] {
    let path = "\(#filePath)".split(separator: "/").dropLast().map { "/" + $0 }.joined() + "/Golden/expressions.jsonl"
    let file = try #require(fopen(path, "r"))
    defer { fclose(file) }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 65_536)
    while case let count = fread(&chunk, 1, chunk.count, file), count > 0 { bytes += chunk[..<count] }
    return String(decoding: bytes, as: UTF8.self).split(separator: "\n")
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

  mutating func expression(depth: Int) -> String {
    var text = ""
    for _ in 0..<Int.random(in: 1...3, using: &self) {
      switch Int.random(in: 0..<(depth > 0 ? 8 : 4), using: &self) {
      case 0: text += "[a-b]"
      case 1: text += "\\d"
      case 2: text += "[^a]"
      case 3: text += ["a", "b", "c", "."].randomElement(using: &self) ?? "a"
      case 4, 5: text += "(\(expression(depth: depth - 1))|\(expression(depth: depth - 1)))"
      default:
        text += "(?:\(expression(depth: 0)))" + (["*", "+", "?", "{2}", "{1,2}"].randomElement(using: &self) ?? "")
      }
    }
    return Int.random(in: 0..<3, using: &self) == 0 ? "^\(text)" : text
  }
}
