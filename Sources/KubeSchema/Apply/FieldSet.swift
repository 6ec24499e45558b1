package import JSON

/// A set of fields of an object, as `metadata.managedFields` tells it: a tree whose branches are `f:name` of a member,
/// `k:{"name":"web"}` of an item by its keys, `v:"x"` of an item of a set, `i:0` of an item by its place.
///
/// https://kubernetes.io/docs/reference/using-api/server-side-apply/
package struct FieldSet: Hashable, Sendable {
  /// The place itself is in the set, besides what lies in it.
  package var isMember = false
  package var children: [String: FieldSet] = [:]

  package init() {}

  /// One whole place.
  package static var leaf: FieldSet {
    var set = FieldSet()
    set.isMember = true
    return set
  }

  package var isEmpty: Bool { !isMember && children.isEmpty }

  /// - Parameter limit: how deep the tree may be.
  package init(json: JSONValue, depth limit: Int = 256) {
    guard let object = json.object, limit > 0 else { return }
    for (key, value) in object.members {
      if key == "." {
        isMember = true
      } else {
        var child = FieldSet(json: value, depth: limit - 1)
        if child.isEmpty { child.isMember = true }
        children[key] = child
      }
    }
  }

  /// The published form; what is empty is `{}`.
  package var json: JSONValue {
    var object = JSONObject()
    if isMember, !children.isEmpty { object["."] = [:] }
    for (key, child) in children.sorted(by: { $0.key < $1.key }) {
      object[key] = child.children.isEmpty ? [:] : child.json
    }
    return .object(object)
  }

  package func union(_ other: FieldSet) -> FieldSet {
    var result = self
    result.isMember = isMember || other.isMember
    for (key, child) in other.children { result.children[key] = result.children[key]?.union(child) ?? child }
    return result
  }

  package func intersection(_ other: FieldSet) -> FieldSet {
    var result = FieldSet()
    result.isMember = isMember && other.isMember
    for (key, child) in children {
      guard let theirs = other.children[key] else { continue }
      let common = child.intersection(theirs)
      if !common.isEmpty { result.children[key] = common }
    }
    return result
  }

  package func subtracting(_ other: FieldSet) -> FieldSet {
    var result = self
    if other.isMember { result.isMember = false }
    for (key, theirs) in other.children {
      guard let child = result.children[key] else { continue }
      let rest = child.subtracting(theirs)
      result.children[key] = rest.isEmpty ? nil : rest
    }
    return result
  }

  /// Without the places that are members of the other set, and all that lies in them.
  package func subtractingTrees(_ other: FieldSet) -> FieldSet {
    if other.isMember { return FieldSet() }
    var result = self
    for (key, theirs) in other.children {
      guard let child = result.children[key] else { continue }
      let rest = child.subtractingTrees(theirs)
      result.children[key] = rest.isEmpty ? nil : rest
    }
    return result
  }

  package mutating func insert(_ path: [String]) {
    guard let first = path.first else {
      isMember = true
      return
    }
    children[first, default: FieldSet()].insert(Array(path.dropFirst()))
  }

  /// Each place of the set as Kubernetes words it: `.spec.containers[name="web"].image`.
  package var paths: [String] {
    var found: [String] = []
    collect("", &found)
    return found.sorted()
  }

  private func collect(_ path: String, _ found: inout [String]) {
    if isMember { found.append(path) }
    for (key, child) in children { child.collect(path + Self.words(key), &found) }
  }

  private static func words(_ element: String) -> String {
    let text = String(element.dropFirst(2))
    switch element.utf8.first {
    case UInt8(ascii: "f"): return ".\(text)"
    case UInt8(ascii: "k"):
      let keys = (try? JSONValue.parse(Array(text.utf8)))?.object ?? JSONObject()
      return "[" + keys.members.map { "\($0.key)=\($0.value.encodedText)" }.joined(separator: ",") + "]"
    case UInt8(ascii: "v"): return "[=\(text)]"
    default: return "[\(text)]"
    }
  }
}

extension JSONValue {
  /// As one line of JSON.
  var encodedText: String { String(decoding: encoded(), as: UTF8.self) }
}
