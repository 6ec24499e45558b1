package import KubeModel

/// The variables of a container: service links, then envFrom, then env, later ones winning, `$(NAME)` replaced by what
/// was set before.
struct Environment {
  private(set) var names: [String] = []
  private(set) var values: [String: String] = [:]

  private mutating func set(_ name: String, _ value: String) {
    if values.updateValue(value, forKey: name) == nil { names.append(name) }
  }

  init(
    _ container: Container, pod: Pod, objects: PodObjects, facts: NodeFacts, podIPs: [String]
  ) throws(TranslationError) {
    let linked = pod.spec.enableServiceLinks != false
    for service in objects.services.sorted(by: { $0.name < $1.name }) where linked || service.isForAll {
      for (name, value) in Self.variables(of: service) { set(name, value) }
    }
    for source in container.envFrom { try add(source, objects) }
    for variable in container.env {
      if let from = variable.valueFrom {
        if let value = try Self.value(variable.name, from, container, pod, objects, facts, podIPs) {
          set(variable.name, value)
        }
      } else {
        set(variable.name, Self.expand(variable.value ?? "", values))
      }
    }
  }

  /// `FOO_SERVICE_HOST` and the older forms that Docker links had.
  private static func variables(of service: ServiceLink) -> [(String, String)] {
    guard let first = service.ports.first else { return [] }
    let prefix = service.name.uppercased().replacing("-", with: "_")
    let host = service.clusterIP.contains(":") ? "[\(service.clusterIP)]" : service.clusterIP
    var out = [("\(prefix)_SERVICE_HOST", service.clusterIP), ("\(prefix)_SERVICE_PORT", "\(first.port)")]
    for port in service.ports {
      guard let name = port.name, !name.isEmpty else { continue }
      out.append(("\(prefix)_SERVICE_PORT_\(name.uppercased().replacing("-", with: "_"))", "\(port.port)"))
    }
    let kind = { (port: ServicePort) in (port.`protocol` ?? "TCP").lowercased() }
    out.append(("\(prefix)_PORT", "\(kind(first))://\(host):\(first.port)"))
    for port in service.ports {
      let name = "\(prefix)_PORT_\(port.port)_\(kind(port).uppercased())"
      out += [
        (name, "\(kind(port))://\(host):\(port.port)"), ("\(name)_PROTO", kind(port)), ("\(name)_PORT", "\(port.port)"),
        ("\(name)_ADDR", service.clusterIP),
      ]
    }
    return out
  }

  private mutating func add(_ source: EnvFromSource, _ objects: PodObjects) throws(TranslationError) {
    let prefix = source.prefix ?? ""
    var pairs: [String: String] = [:]
    if let reference = source.configMapRef {
      guard let map = objects.configMaps[reference.name ?? ""] else {
        if reference.optional == true { return }
        throw TranslationError("configmap \"\(reference.name ?? "")\" not found")
      }
      pairs = map.data
    } else if let reference = source.secretRef {
      guard let secret = objects.secrets[reference.name ?? ""] else {
        if reference.optional == true { return }
        throw TranslationError("secret \"\(reference.name ?? "")\" not found")
      }
      for (key, bytes) in secret.allBytes { pairs[key] = try Self.text(bytes, of: "secret key \(key)") }
    }
    for (key, value) in pairs.sorted(by: { $0.key < $1.key }) { set(prefix + key, value) }
  }

  /// Nil: an optional key that is not there leaves the variable out.
  private static func value(
    _ name: String, _ source: EnvVarSource, _ container: Container, _ pod: Pod, _ objects: PodObjects,
    _ facts: NodeFacts, _ podIPs: [String]
  ) throws(TranslationError) -> String? {
    if let field = source.fieldRef {
      return try FieldReference.value(of: field.fieldPath, pod: pod, facts: facts, podIPs: podIPs)
    }
    if let selector = source.resourceFieldRef {
      let owner =
        (pod.spec.initContainers + pod.spec.containers).first { $0.name == selector.containerName } ?? container
      return try FieldReference.value(of: selector, container: owner, facts: facts)
    }
    if let selector = source.configMapKeyRef {
      let map = objects.configMaps[selector.name ?? ""]
      if let value = map?.data[selector.key] { return value }
      if selector.optional == true { return nil }
      throw missing("ConfigMap", selector.name, selector.key, pod, exists: map != nil)
    }
    if let selector = source.secretKeyRef {
      let secret = objects.secrets[selector.name ?? ""]
      if let bytes = secret?.allBytes[selector.key] { return try text(bytes, of: "variable \(name)") }
      if selector.optional == true { return nil }
      throw missing("Secret", selector.name, selector.key, pod, exists: secret != nil)
    }
    throw TranslationError("variable \(name) has a source that is not supported")
  }

  private static func missing(
    _ kind: String, _ name: String?, _ key: String, _ pod: Pod, exists: Bool
  ) -> TranslationError {
    exists
      ? TranslationError("couldn't find key \(key) in \(kind) \(pod.metadata.namespace ?? "default")/\(name ?? "")")
      : TranslationError("\(kind.lowercased()) \"\(name ?? "")\" not found")
  }

  private static func text(_ bytes: [UInt8], of what: String) throws(TranslationError) -> String {
    guard let text = String(validating: bytes, as: UTF8.self), !bytes.contains(0) else {
      throw TranslationError("\(what) is not text")
    }
    return text
  }

  /// `$(NAME)` becomes the value where there is one and stays where there is none; `$$` is one dollar.
  static func expand(_ text: String, _ values: [String: String]) -> String {
    guard text.utf8.contains(UInt8(ascii: "$")) else { return text }
    var out = ""
    var rest = text[...]
    while let dollar = rest.firstIndex(of: "$") {
      out += rest[..<dollar]
      let after = rest.index(after: dollar)
      guard after < rest.endIndex else {
        rest = rest[dollar...]
        break
      }
      if rest[after] == "$" {
        out += "$"
        rest = rest[rest.index(after: after)...]
      } else if rest[after] == "(", let close = rest[after...].firstIndex(of: ")") {
        let name = String(rest[rest.index(after: after)..<close])
        out += values[name] ?? "$(\(name))"
        rest = rest[rest.index(after: close)...]
      } else {
        out += rest[dollar...after]
        rest = rest[rest.index(after: after)...]
      }
    }
    return out + rest
  }
}

extension Secret {
  /// `data` with `stringData` over it.
  package var allBytes: [String: [UInt8]] {
    data.mapValues(\.bytes).merging(stringData.mapValues { Array($0.utf8) }) { _, plain in plain }
  }
}
