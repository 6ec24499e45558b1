import JSON
import KubeSchema
import Testing

/// JSON with the words that mean something here, in the wrong places.
private struct HostileMaker {
  var random: SeededRandom
  static let keys = [
    "apiVersion", "kind", "metadata", "name", "labels", "finalizers", "spec", "containers", "volumes", "env", "ports",
    "containerPort", "resources", "limits", "cpu", "strategy", "template", "status", "type", "hostNetwork", "$patch",
    "$retainKeys", "$setElementOrder/containers", "$setElementOrder/finalizers", "$deleteFromPrimitiveList/finalizers",
    "$deleteFromPrimitiveList/", "$setElementOrder", "$setElementOrder/novel", "novel", "", "selector", "image",
  ]
  static let texts = [
    "", "a", "b", "delete", "replace", "merge", "RollingUpdate", "LoadBalancer", "ClientIP", "1", "1Ki",
  ]

  init(seed: Int) { random = SeededRandom(seed: seed) }

  mutating func value(depth: Int) -> JSONValue {
    switch random.below(depth > 0 ? 12 : 6) {
    case 0: .null
    case 1: .bool(random.chance(50))
    case 2: .integer([0, 1, -1, .max, .min, 80][random.below(6)])
    case 3: .number(["1.5", "1e400", "99999999999999999999"][random.below(3)])
    case 4, 5: .string(Self.texts[random.below(Self.texts.count)])
    case 6, 7: .array((0..<random.below(5)).map { _ in value(depth: depth - 1) })
    default:
      .object(
        (0..<random.below(7)).reduce(into: JSONObject()) { object, _ in
          object[Self.keys[random.below(Self.keys.count)]] = value(depth: depth - 1)
        })
    }
  }

  mutating func pointer() -> String {
    (0..<random.below(4)).map { _ in
      random.chance(30) ? ["0", "1", "-", "01", "~1", "~", "-1"][random.below(7)] : Self.keys[random.below(22)]
    }.reduce("") { "\($0)/\($1)" }
  }
}

@Suite struct HostileTests {
  private let schema = Schema.kubernetes

  @Test func noValueBreaksWhatReadsByTheTable() throws {
    let kinds = schema.types.values.filter(\.isKind).sorted { $0.name < $1.name }
    for seed in 0..<400 {
      var maker = HostileMaker(seed: seed)
      let value = maker.value(depth: 7)
      for kind in kinds {
        let problems = schema.check(value, as: kind)
        #expect(problems.count <= Schema.problemsMax)
        #expect(problems.allSatisfy { !$0.description.isEmpty })
        let shaped = schema.defaulted(schema.pruned(value, as: kind), as: kind)
        #expect(throws: Never.self, "seed \(seed)") { try JSONValue.parse(shaped.encoded()) }
        if problems.isEmpty, value.object != nil {
          // Without problems there is a protobuf form, too.
          #expect(throws: Never.self, "seed \(seed) \(kind.name) \(shaped.encodedString())") {
            try KubeProtobuf.encode(schema.pruned(value, as: kind), as: kind)
          }
        }
      }
    }
  }

  @Test func noStrategicPatchBreaksTheServer() throws {
    let pod = try #require(schema.type(apiVersion: "v1", kind: "Pod"))
    var (applied, refused) = (0, 0)
    for seed in 0..<3000 {
      var maker = HostileMaker(seed: seed)
      var objects = ObjectMaker(seed: seed % 50)
      let value = seed % 2 == 0 ? maker.value(depth: 6) : JSONValue.object(objects.object(pod, depth: 5))
      do {
        let result = try schema.strategicMergePatch(value, patch: maker.value(depth: 6), as: pod)
        applied += 1
        #expect(throws: Never.self, "seed \(seed)") { try JSONValue.parse(result.encoded()) }
      } catch {
        refused += 1
        #expect(!error.message.isEmpty, "seed \(seed)")
      }
    }
    #expect(applied > 200 && refused > 200, "\(applied) applied, \(refused) refused")
  }

  @Test func noJSONPatchBreaksTheServer() throws {
    var (applied, refused) = (0, 0)
    for seed in 0..<5000 {
      var maker = HostileMaker(seed: seed)
      let value = maker.value(depth: 5)
      var operations: [JSONValue] = []
      for _ in 0...maker.random.below(3) {
        let name = ["add", "remove", "replace", "move", "copy", "test", "turn"][maker.random.below(7)]
        var operation: JSONObject = ["op": .string(name), "path": .string(maker.pointer())]
        if maker.random.chance(70) { operation["from"] = .string(maker.pointer()) }
        if maker.random.chance(90) { operation["value"] = maker.value(depth: 2) }
        operations.append(.object(operation))
      }
      do {
        let result = try JSONPatch.apply(.array(operations), to: value)
        applied += 1
        #expect(throws: Never.self, "seed \(seed)") { try JSONValue.parse(result.encoded()) }
      } catch {
        refused += 1
        #expect(!error.message.isEmpty, "seed \(seed)")
      }
    }
    #expect(applied > 200 && refused > 200, "\(applied) applied, \(refused) refused")
  }
}
