package import JSON

extension Schema {
  /// The value with the defaults that follow from the object alone: those of the table, and the rules below
  /// (`imagePullPolicy` by the image's tag, `requests` from `limits`, `targetPort` from `port` and so on). Idempotent.
  ///
  /// What needs more than the object, such as addresses, names and families of IP, is not for this function.
  package func defaulted(_ value: JSONValue, as type: SchemaType) -> JSONValue {
    defaulted(value, type.valueType, type)
  }

  /// - Parameter leaf: the type of the objects that the value holds.
  private func defaulted(_ value: JSONValue, _ valueType: SchemaValueType, _ leaf: SchemaType) -> JSONValue {
    switch (valueType, value) {
    case (.object, .object(let object)): return .object(defaulted(object, leaf))
    case (.list(let item), .array(let items)): return .array(items.map { defaulted($0, item, leaf) })
    case (.map(let member), .object(let object)):
      var members = JSONObject()
      for (key, inner) in object.members { members[key] = defaulted(inner, member, leaf) }
      return .object(members)
    default: return value
    }
  }

  private func defaulted(_ object: JSONObject, _ type: SchemaType) -> JSONObject {
    var result = object
    for field in type.orderedFields {
      let leaf = leafWithDefaults(field)
      guard field.default != nil || leaf != nil else { continue }
      let present = result[field.name]
      if let present, !present.isNull, field.zero == .value || !Self.isZero(present, field.valueType) {
        if let leaf { result[field.name] = defaulted(present, field.valueType, leaf) }
      } else if let value = field.default {
        result[field.name] = value
      } else if let leaf, field.publishedDefault == .object(JSONObject()) {
        // Part of the object even where it was not written.
        let value = defaulted(JSONObject(), leaf)
        if !value.isEmpty { result[field.name] = .object(value) }
      }
    }
    DefaultRules.byType[type.name]?(&result)
    return result
  }

  /// In which types `defaulted` may change something, by their place in the table.
  static func withDefaults(_ types: [SchemaType]) -> [Bool] {
    var found = types.map { type in
      DefaultRules.byType[type.name] != nil || type.orderedFields.contains { $0.default != nil }
    }
    while true {
      var grew = false
      for (place, type) in types.enumerated() where !found[place] {
        guard type.orderedFields.contains(where: { $0.leaf.map { found[$0] } ?? false }) else { continue }
        (found[place], grew) = (true, true)
      }
      if !grew { return found }
    }
  }
}

/// Defaults that depend on other fields. Each runs after those of the table, and those of what lies within.
enum DefaultRules {
  static let byType: [String: @Sendable (inout JSONObject) -> Void] = ofCore.merging(ofKinds) { first, _ in first }

  private static let ofCore: [String: @Sendable (inout JSONObject) -> Void] = [
    "io.k8s.api.core.v1.Pod": pod,
    "io.k8s.api.core.v1.Container": { pullPolicy(&$0, "image", "imagePullPolicy") },
    "io.k8s.api.core.v1.EphemeralContainer": { pullPolicy(&$0, "image", "imagePullPolicy") },
    "io.k8s.api.core.v1.ImageVolumeSource": { pullPolicy(&$0, "reference", "pullPolicy") },
    "io.k8s.api.core.v1.Volume": volume,
    "io.k8s.api.core.v1.ServicePort": servicePort,
    "io.k8s.api.core.v1.ServiceSpec": serviceSpec,
    "io.k8s.api.core.v1.Namespace": namespace,
    "io.k8s.api.core.v1.Node": node,
    "io.k8s.api.apps.v1.DeploymentStrategy": deploymentStrategy,
  ]

  private static func pod(_ pod: inout JSONObject) {
    guard case .object(var spec)? = pod["spec"] else { return }
    if spec["enableServiceLinks"]?.isNull ?? true { spec["enableServiceLinks"] = true }
    let sharesPorts = spec["hostNetwork"]?.bool == true
    for list in ["containers", "initContainers"] {
      guard let containers = spec[list]?.array else { continue }
      spec[list] = .array(
        containers.map { value in
          guard case .object(var container) = value else { return value }
          requestLimits(&container)
          if sharesPorts { shareHostPorts(&container) }
          return .object(container)
        })
    }
    pod["spec"] = .object(spec)
  }

  /// Who limits an amount and does not say what is requested requests the limit.
  private static func requestLimits(_ container: inout JSONObject) {
    guard case .object(var resources)? = container["resources"], let limits = resources["limits"]?.object,
      !limits.isEmpty
    else { return }
    var requests = resources["requests"]?.object ?? JSONObject()
    for (name, amount) in limits.members where requests[name] == nil { requests[name] = amount }
    resources["requests"] = .object(requests)
    container["resources"] = .object(resources)
  }

  private static func shareHostPorts(_ container: inout JSONObject) {
    guard let ports = container["ports"]?.array else { return }
    container["ports"] = .array(
      ports.map { value in
        guard case .object(var port) = value, (port["hostPort"]?.integer ?? 0) == 0 else { return value }
        port["hostPort"] = port["containerPort"]
        return .object(port)
      })
  }

  private static func pullPolicy(_ object: inout JSONObject, _ image: String, _ policy: String) {
    guard isUnset(object[policy]) else { return }
    object[policy] = .string(pullsAlways(object[image]?.string ?? "") ? "Always" : "IfNotPresent")
  }

  /// An image with the tag `latest`, or with none and no digest, may change under its name.
  private static func pullsAlways(_ image: String) -> Bool {
    let parts = image.split(separator: "@", maxSplits: 1, omittingEmptySubsequences: false)
    let name = parts[0].split(separator: "/", omittingEmptySubsequences: false).last ?? ""
    guard !name.isEmpty else { return false }
    guard let colon = name.lastIndex(of: ":") else { return parts.count == 1 }
    return name[name.index(after: colon)...] == "latest"
  }

  private static func volume(_ volume: inout JSONObject) {
    let isBare = volume.members.allSatisfy { $0.key == "name" || $0.value.isNull }
    if isBare { volume["emptyDir"] = .object(JSONObject()) }
  }

  private static func servicePort(_ port: inout JSONObject) {
    switch port["targetPort"] {
    case nil, .null?, .integer(0)?, .string("")?: port["targetPort"] = port["port"]
    default: break
    }
  }

  private static func serviceSpec(_ spec: inout JSONObject) {
    let type = spec["type"]?.string
    if type != "ExternalName", isUnset(spec["internalTrafficPolicy"]) { spec["internalTrafficPolicy"] = "Cluster" }
    if type == "NodePort" || type == "LoadBalancer", isUnset(spec["externalTrafficPolicy"]) {
      spec["externalTrafficPolicy"] = "Cluster"
    }
    if type == "LoadBalancer", spec["allocateLoadBalancerNodePorts"]?.isNull ?? true {
      spec["allocateLoadBalancerNodePorts"] = true
    }
    guard spec["sessionAffinity"]?.string == "ClientIP" else { return }
    var configuration = spec["sessionAffinityConfig"]?.object ?? JSONObject()
    var client = configuration["clientIP"]?.object ?? JSONObject()
    guard client["timeoutSeconds"]?.integer == nil else { return }
    client["timeoutSeconds"] = 10_800
    configuration["clientIP"] = .object(client)
    spec["sessionAffinityConfig"] = .object(configuration)
  }

  /// A label that selectors of namespaces can rely on.
  private static func namespace(_ namespace: inout JSONObject) {
    guard case .object(var metadata)? = namespace["metadata"], let name = metadata["name"]?.string, !name.isEmpty else {
      return
    }
    var labels = metadata["labels"]?.object ?? JSONObject()
    labels["kubernetes.io/metadata.name"] = .string(name)
    metadata["labels"] = .object(labels)
    namespace["metadata"] = .object(metadata)
  }

  private static func node(_ node: inout JSONObject) {
    guard case .object(var status)? = node["status"], let capacity = status["capacity"],
      status["allocatable"]?.isNull ?? true
    else { return }
    status["allocatable"] = capacity
    node["status"] = .object(status)
  }

  private static func deploymentStrategy(_ strategy: inout JSONObject) {
    guard strategy["type"]?.string == "RollingUpdate" else { return }
    var update = strategy["rollingUpdate"]?.object ?? JSONObject()
    for bound in ["maxUnavailable", "maxSurge"] where update[bound]?.isNull ?? true { update[bound] = "25%" }
    strategy["rollingUpdate"] = .object(update)
  }

  private static func isUnset(_ value: JSONValue?) -> Bool { value == nil || value == .null || value == "" }
}
