import JSON
import Testing

@Suite struct JSONObjectTests {
  @Test(arguments: [3, 16, 17, 100, 1000])
  func membersAreFoundChangedAndRemovedWhateverTheirNumber(_ count: Int) {
    var object = JSONObject()
    for number in 0..<count { object["k\(number)"] = .integer(Int64(number)) }
    #expect(object.count == count)
    #expect(object.keys == (0..<count).map { "k\($0)" })
    for number in 0..<count { #expect(object["k\(number)"] == .integer(Int64(number))) }
    #expect(object["absent"] == nil)
    object["k1"] = "changed"
    #expect(object.keys == (0..<count).map { "k\($0)" })
    object["k0"] = nil
    object["k\(count - 1)"] = nil
    object["absent"] = nil
    #expect(object.keys == (1..<(count - 1)).map { "k\($0)" })
    #expect(object["k1"] == "changed")
    #expect(object["k0"] == nil)
    object["k0"] = 7
    #expect(object.keys.last == "k0")
    let removed = [object.removeValue(forKey: "k0"), object.removeValue(forKey: "k0")]
    #expect(removed == [7, nil])
    let inserted = [object.insert("new", 1), object.insert("new", 2)]
    #expect(inserted == [true, false])
    #expect(object["new"] == 1)
    object.removeAll { key, _ in key != "new" }
    #expect(object == ["new": 1])
  }

  @Test(arguments: [2, 40])
  func orderMattersNeitherToEqualityNorToHashes(_ count: Int) {
    var (one, other) = (JSONObject(), JSONObject())
    for number in 0..<count { one["k\(number)"] = .integer(Int64(number)) }
    for number in (0..<count).reversed() { other["k\(number)"] = .integer(Int64(number)) }
    #expect(one == other)
    #expect(one.hashValue == other.hashValue)
    other["k0"] = 99
    #expect(one != other)
    other["k0"] = nil
    #expect(one != other)
    other["x"] = 0
    #expect(one != other)
  }

  @Test func aMemberIsChangedInPlace() {
    var object: JSONObject = ["a": ["b": 1], "list": [1]]
    if case .array(var items)? = object["list"] {
      items.append(2)
      object["list"] = .array(items)
    }
    func change(_ value: inout JSONValue?) { value = value.map { [$0] } }
    change(&object["a"])
    #expect(object["a"] == [["b": 1]])
    func remove(_ value: inout JSONValue?) { value = nil }
    remove(&object["a"])
    #expect(object.keys == ["list"])
    func add(_ value: inout JSONValue?) { value = 5 }
    add(&object["new"])
    #expect(object == ["list": [1, 2], "new": 5])
  }

  @Test func pathsAreReadAndSet() {
    var value: JSONValue = ["spec": ["a": 1]]
    #expect(value[path: "spec", "a"] == 1)
    #expect(value[path: "spec", "b", "c"] == nil)
    value[path: "spec", "b", "c"] = 2
    value[path: "spec", "a"] = nil
    value[path: "none", "x"] = nil
    value[path: "spec", "b", "c", "d"] = 3
    #expect(value == ["spec": ["b": ["c": ["d": 3]]]])
  }

  @Test func membersArePairs() {
    let object: JSONObject = ["a": 1, "b": 2]
    var keys: [String] = []
    for (key, value) in object.members where value == 2 { keys.append(key) }
    #expect(keys == ["b"])
    #expect(object.members.map(\.key) == ["a", "b"])
    #expect(object.members.first { $0.key == "b" }?.value == 2)
  }

  @Test func aLargeObjectIsReadInLinearTime() throws {
    let count = 50_000
    let text = "{" + (0..<count).map { "\"k\($0)\":\($0)" }.joined(separator: ",") + "}"
    var value: JSONValue = .null
    let time = try ContinuousClock().measure { value = try JSONValue.parse(text) }
    #expect(value.object?.count == count)
    #expect(value["k49999"] == 49_999)
    #expect(time < .seconds(10))
    let twice = text.dropLast() + ",\"k7\":1}"
    #expect(throws: JSONError.self) { try JSONValue.parse(String(twice)) }
  }
}

/// SplitMix64.
private struct SeededRandom: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }

  mutating func below(_ bound: Int) -> Int { Int.random(in: 0..<bound, using: &self) }

  static let texts = [
    "", "a", "terminationMessagePath", "terminationMessagePolicy", "\u{0}", "\u{1f}", "\"", "\\", "/", "é", "😀",
    "\u{7f}",
    "line\nline\r\ttab", "0123456789abcde", "0123456789abcdef", "exactly-fifteen", "a-text-of-sixteen", "\u{2028}",
  ]

  mutating func value(depth: Int) -> JSONValue {
    switch below(depth > 0 ? 9 : 6) {
    case 0: .null
    case 1: .bool(below(2) == 0)
    case 2: .integer([0, 1, -1, .max, .min, 999_999_999_999_999_999, 1_000_000_000_000_000_000][below(7)])
    case 3: .number(["1.5", "-0.1", "1e400", "123456789012345678901234567890", "1E-7"][below(5)])
    case 4, 5: .string(Self.texts[below(Self.texts.count)])
    case 6: .array((0..<below(5)).map { _ in value(depth: depth - 1) })
    default:
      .object(
        (0..<below(25)).reduce(into: JSONObject()) { object, _ in
          object[Self.texts[below(Self.texts.count)] + "\(below(20))"] = value(depth: depth - 1)
        })
    }
  }
}

@Suite struct JSONRandomTests {
  @Test func whatIsWrittenIsReadBack() throws {
    for seed in 0..<400 {
      var random = SeededRandom(state: UInt64(seed))
      let value = random.value(depth: 4)
      let bytes = value.encoded()
      #expect(try JSONValue.parse(bytes) == value, "seed \(seed)")
      #expect(try JSONValue.parse(bytes).encoded() == bytes, "seed \(seed): order and numbers stay as they were")
      #expect(try JSONValue.parse(value.encoded(pretty: true)) == value, "seed \(seed)")
    }
  }

  /// Truncated and changed bytes are read or refused at a place within them.
  @Test func noBytesBreakTheReader() {
    var refused = 0
    for seed in 0..<3000 {
      var random = SeededRandom(state: UInt64(seed))
      var bytes = random.value(depth: 3).encoded()
      switch random.below(3) {
      case 0: bytes.removeLast(random.below(bytes.count + 1))
      case 1: for _ in 0...random.below(4) { bytes[random.below(bytes.count)] = UInt8(random.below(256)) }
      default: bytes.insert(contentsOf: "\\u{}[],:\"".utf8.shuffled(using: &random), at: random.below(bytes.count + 1))
      }
      do {
        let value = try JSONValue.parse(bytes)
        #expect(throws: Never.self, "seed \(seed)") { try JSONValue.parse(value.encoded()) }
      } catch {
        refused += 1
        #expect((0...bytes.count).contains(error.offset), "seed \(seed)")
      }
    }
    #expect(refused > 1000)
  }
}
