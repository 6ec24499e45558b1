import JSON
import KubeSchema

/// SplitMix64: the same seed gives the same objects on every machine.
struct SeededRandom: RandomNumberGenerator {
  private var state: UInt64

  init(seed: Int) { state = UInt64(truncatingIfNeeded: seed) }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }

  mutating func below(_ bound: Int) -> Int { Int.random(in: 0..<bound, using: &self) }
  mutating func chance(_ percent: Int) -> Bool { below(100) < percent }
}

/// Objects with random fields out of the table, as programs write them: no nulls, no empty lists and maps, no zeros
/// where zero and absent are one; items of lists with a merge key have keys of their own.
struct ObjectMaker {
  let schema = Schema.kubernetes
  var random: SeededRandom
  /// Of a hundred optional fields, how many are there.
  var density = 35

  init(seed: Int) { random = SeededRandom(seed: seed) }

  mutating func object(_ type: SchemaType, depth: Int = 7) -> JSONObject {
    var object = JSONObject()
    for field in type.orderedFields {
      if type.isKind, let kind = type.kinds.first, ["apiVersion", "kind"].contains(field.name) {
        object[field.name] = .string(field.name == "kind" ? kind.kind : kind.apiVersion)
        continue
      }
      guard field.isRequired || random.chance(density), depth > 0 else { continue }
      if let value = value(field, depth: depth) { object[field.name] = value }
    }
    return object
  }

  mutating func value(_ field: SchemaField, depth: Int) -> JSONValue? {
    switch field.valueType {
    case .list(let item):
      guard depth > 1 else { return nil }
      var items = (0..<random.below(3) + 1).compactMap { _ in value(item, depth: depth - 1) }
      if let key = field.patchMergeKey {
        for index in items.indices {
          guard case .object(var inner) = items[index] else { continue }
          let isNumber = schema.type(in: item)?.fields[key]?.valueType == .int32
          inner[key] = isNumber ? .integer(Int64(8000 + index)) : .string("item-\(index)")
          items[index] = .object(inner)
        }
      } else if items.allSatisfy({ $0.object == nil }) {
        var seen: Set<JSONValue> = []
        items = items.filter { seen.insert($0).inserted }
      }
      return .array(items)
    default:
      guard let value = value(field.valueType, depth: depth - 1) else { return nil }
      if field.zero == .absent, isZero(value) { return nil }
      return value
    }
  }

  private func isZero(_ value: JSONValue) -> Bool { [.string(""), .integer(0), .bool(false)].contains(value) }

  mutating func value(_ type: SchemaValueType, depth: Int) -> JSONValue? {
    switch type {
    case .string: return .string(["", "a", "web-1", "é😀", "x y\n\"z\"", "TCP"][random.below(6)])
    case .bool: return .bool(random.chance(50))
    case .int32: return .integer([0, 1, -1, 443, Int64(Int32.max), Int64(Int32.min)][random.below(6)])
    case .int64: return .integer([0, 1, -1, 1_795_294_800, Int64.max, Int64.min][random.below(6)])
    case .double: return .number("1.5")
    case .bytes: return .string(["", "aGk=", "AAEC", "/w=="][random.below(4)])
    case .any: return .object(["kind": "Pod", "x": [1, 2]])
    case .fieldsV1: return .object(["f:metadata": ["f:labels": [:]]])
    case .quantity: return .string(["0", "100m", "128Mi", "1500", "2e3"][random.below(5)])
    case .intOrString: return [.integer(80), .string("http"), .string("25%"), .integer(0)][random.below(4)]
    case .time: return .string(["2026-01-31T12:00:00Z", "1969-12-31T23:59:59Z"][random.below(2)])
    case .microTime: return .string(["2026-01-31T12:00:00.000000Z", "2026-01-31T12:00:00.123456Z"][random.below(2)])
    case .object(let name):
      guard depth > 0, let type = schema.type(named: name) else { return nil }
      var inner = object(type, depth: depth - 1)
      // Items of a list are of the kind that the list says.
      if type.isKind { (inner["apiVersion"], inner["kind"]) = (nil, nil) }
      return .object(inner)
    case .list(let item):
      guard depth > 0 else { return nil }
      return .array((0..<2).compactMap { _ in value(item, depth: depth - 1) })
    case .map(let member):
      guard depth > 0 else { return nil }
      var members = JSONObject()
      for _ in 0...random.below(3) { members["key-\(random.below(5))"] = value(member, depth: depth - 1) }
      // An empty map means the same as none.
      return members.isEmpty ? nil : .object(members)
    }
  }
}
