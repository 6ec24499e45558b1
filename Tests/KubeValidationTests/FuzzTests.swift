import JSON
import KubeModel
import KubeValidation
import Testing
import YAML

/// A generator that gives the same numbers for the same seed.
struct SeededGenerator: RandomNumberGenerator {
  private var state: UInt64

  init(seed: UInt64) { state = seed &* 0x9E37_79B9_7F4A_7C15 | 1 }

  mutating func next() -> UInt64 {
    state ^= state << 13
    state ^= state >> 7
    state ^= state << 17
    return state
  }
}

@Suite struct FuzzTests {
  private static let texts = [
    "", " ", "-", "..", "../..", "/", "a/b/c", "A", "é", "\u{0}", "::", "1.2.3.4::", "::ffff:1.2.3.4", "0.0.0.0/33",
    "255.255.255.255", "fe80::/200", "100%", "%", "-9223372036854775808", "9223372036854775807E", "1e-30", "1e99",
    "hugepages-2Mi", "requests.", "None", "Always", "metadata.labels['']", "metadata.labels[']", "a-",
    String(repeating: "a", count: 300),
  ]
  private static let numbers: [Int64] = [0, 1, -1, 65535, 65536, Int64(Int32.max), Int64(Int32.min)]

  /// The value with some of its parts replaced, removed or repeated.
  private func mutated(_ value: JSONValue, _ random: inout SeededGenerator) -> JSONValue {
    let isHit = Int.random(in: 0..<12, using: &random) == 0
    switch value {
    case .string(let text): return isHit ? .string(Self.texts.randomElement(using: &random) ?? "") : .string(text)
    case .integer(let number):
      return isHit ? .integer(Self.numbers.randomElement(using: &random) ?? 0) : .integer(number)
    case .array(let items):
      var changed = items.map { mutated($0, &random) }
      if isHit, let item = changed.first { changed.append(item) }
      if Int.random(in: 0..<20, using: &random) == 0 { changed = [] }
      return .array(changed)
    case .object(let object):
      var changed = JSONObject()
      for (key, member) in object.members where Int.random(in: 0..<20, using: &random) != 0 {
        let isFree = object["name"] == nil && Int.random(in: 0..<40, using: &random) == 0
        let name = isFree ? Self.texts.randomElement(using: &random) ?? key : key
        changed[name] = mutated(member, &random)
      }
      return .object(changed)
    default: return value
    }
  }

  private static let documents =
    (PodTests.containers + PodTests.specs + ServiceTests.services + WorkloadTests.deployments
    + OtherKindsTests.documents + MetadataTests.objects).map(\.yaml).filter { $0.utf8.count < 10_000 }

  @Test(arguments: 0..<40) func nothingThatCanBeReadStopsTheProgram(_ seed: UInt64) throws {
    var random = SeededGenerator(seed: seed)
    for yaml in Self.documents {
      let good = try YAML.parse(yaml)[0]
      var bad = mutated(good, &random)
      bad = .object(
        [
          "apiVersion": good["apiVersion"] ?? .null, "kind": good["kind"] ?? .null, "metadata": bad["metadata"] ?? [:],
          "spec": bad["spec"] ?? [:],
        ])
      let type = try AnyKind.type(of: good)
      let old = try type.init(lenient: good)
      guard let new = try? type.init(lenient: bad) else { continue }
      for error in Validation.create(new) + Validation.update(new, old: old) + Validation.statusUpdate(new, old: old) {
        #expect(error.message.hasPrefix(error.path), "seed \(seed)")
        #expect(!error.body.isEmpty, "seed \(seed)")
      }
    }
  }

  @Test(arguments: [
    ("10.0.0.1", true), ("::", true), ("::1", true), ("fd00::1:2", true), ("1:2:3:4:5:6:7:8", true),
    ("::1.2.3.4", true), ("01.2.3.4", false), ("1.2.3", false), ("1.2.3.4.5", false), ("256.1.1.1", false),
    (":::", false), ("1::2::3", false), ("1.2.3.4::", false), ("1:2:3:4:5:6:7", false), ("1:2:3:4:5:6:7:8:9", false),
    ("12345::", false), ("g::", false), ("", false), ("::ffff:1.2.3.4", false),
  ])
  func addressesAreReadByTheLetter(_ text: String, _ isGood: Bool) throws {
    let errors = Validation.create(try object(pod("hostAliases: [{ip: '\(text)', hostnames: [a]}]")))
    #expect(errors.isEmpty == isGood)
  }
}
