package import KubeModel

/// What `fieldRef` and `resourceFieldRef` point to.
package enum FieldReference {
  private static let plain: Set<String> = ["metadata.name", "metadata.namespace", "metadata.uid"]
  private static let onlyEnvironment: Set<String> = [
    "spec.nodeName", "spec.serviceAccountName", "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs",
  ]

  package static func isKnown(_ path: String, inVolume: Bool) -> Bool {
    if plain.contains(path) || subscripted(path) != nil { return true }
    return inVolume ? ["metadata.labels", "metadata.annotations"].contains(path) : onlyEnvironment.contains(path)
  }

  /// `metadata.labels['key']` as (`metadata.labels`, `key`).
  private static func subscripted(_ path: String) -> (map: String, key: String)? {
    for map in ["metadata.labels", "metadata.annotations"] where path.hasPrefix("\(map)['") && path.hasSuffix("']") {
      return (map, String(path.dropFirst(map.count + 2).dropLast(2)))
    }
    return nil
  }

  /// - Parameter podIPs: empty while the pod has no sandbox.
  /// - Throws: `TranslationError` for a field that there is not, which validation has refused before.
  package static func value(
    of path: String, pod: Pod, facts: NodeFacts, podIPs: [String]
  ) throws(TranslationError) -> String {
    switch path {
    case "metadata.name": return pod.metadata.name ?? ""
    case "metadata.namespace": return pod.metadata.namespace ?? "default"
    case "metadata.uid": return pod.metadata.uid ?? ""
    case "metadata.labels": return quoted(pod.metadata.labels)
    case "metadata.annotations": return quoted(pod.metadata.annotations)
    case "spec.nodeName": return facts.nodeName
    case "spec.serviceAccountName": return pod.spec.serviceAccountName ?? "default"
    case "status.hostIP": return facts.hostIPs.first ?? ""
    case "status.hostIPs": return facts.hostIPs.joined(separator: ",")
    case "status.podIP": return podIPs.first ?? ""
    case "status.podIPs": return podIPs.joined(separator: ",")
    default: break
    }
    guard let (map, key) = subscripted(path) else { throw TranslationError("fieldPath \"\(path)\" is not supported") }
    return (map == "metadata.labels" ? pod.metadata.labels : pod.metadata.annotations)[key] ?? ""
  }

  /// One `key="value"` a line, sorted, the value escaped as Go quotes it.
  private static func quoted(_ map: [String: String]) -> String {
    map.sorted { $0.key < $1.key }.map { "\($0.key)=\(goQuoted($0.value))" }.joined(separator: "\n")
  }

  private static func goQuoted(_ text: String) -> String {
    var out = "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": out += "\\\""
      case "\\": out += "\\\\"
      case "\n": out += "\\n"
      case "\r": out += "\\r"
      case "\t": out += "\\t"
      case let control where control.value < 0x20 || control.value == 0x7F:
        let hex = String(control.value, radix: 16)
        out += "\\x" + (hex.count < 2 ? "0" : "") + hex
      default: out.unicodeScalars.append(scalar)
      }
    }
    return out + "\""
  }

  /// The amount of a resource of `container` in units of the divisor, rounded up. A limit that is not set is the node's.
  package static func value(
    of selector: ResourceFieldSelector, container: Container, facts: NodeFacts
  ) throws(TranslationError) -> String {
    let parts = selector.resource.split(separator: ".", maxSplits: 1).map(String.init)
    guard parts.count == 2, ["limits", "requests"].contains(parts[0]) else {
      throw TranslationError("resource \"\(selector.resource)\" is not supported")
    }
    let given = (parts[0] == "limits" ? container.resources.limits : container.resources.requests)[parts[1]]
    let milli: Int64
    switch parts[1] {
    case "cpu": milli = given?.milliValue ?? (parts[0] == "limits" ? facts.cpuCapacityMilli : 0)
    case "memory":
      milli = given?.milliValue ?? (parts[0] == "limits" ? facts.memoryCapacityBytes.multipliedClamped(by: 1000) : 0)
    case let name where name.hasPrefix("hugepages-"): milli = given?.milliValue ?? 0
    default: throw TranslationError("resource \"\(selector.resource)\" is not supported")
    }
    let divisor = max(1, selector.divisor.map(\.milliValue) ?? 1000)
    return String(milli / divisor + (milli % divisor > 0 ? 1 : 0))
  }
}

extension Int64 {
  func multipliedClamped(by factor: Int64) -> Int64 {
    let (product, overflow) = multipliedReportingOverflow(by: factor)
    return overflow ? .max : product
  }
}
