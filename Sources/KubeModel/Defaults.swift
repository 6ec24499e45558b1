/// Defaults that depend on other fields; those that do not are in Schema/defaults.tsv.
extension Container {
  mutating func applyOwnDefaults() {
    if imagePullPolicy == nil { imagePullPolicy = Self.pullsAlways(image ?? "") ? "Always" : "IfNotPresent" }
    for (name, amount) in resources.limits where resources.requests[name] == nil {
      resources.requests[name] = amount
    }
  }

  /// An image with the tag `latest`, or with none and no digest, may change under its name.
  private static func pullsAlways(_ image: String) -> Bool {
    if image.contains("@") { return false }
    let name = image.split(separator: "/", omittingEmptySubsequences: false).last ?? ""
    guard let colon = name.lastIndex(of: ":") else { return true }
    return name[name.index(after: colon)...] == "latest"
  }
}

extension Pod {
  mutating func applyOwnDefaults() {
    if metadata.namespace == nil { metadata.namespace = "default" }
  }
}

extension PodSpec {
  mutating func applyOwnDefaults() {
    if securityContext == nil { securityContext = PodSecurityContext() }
    guard hostNetwork == true else { return }
    for container in containers.indices {
      for port in containers[container].ports.indices where containers[container].ports[port].hostPort == nil {
        containers[container].ports[port].hostPort = containers[container].ports[port].containerPort
      }
    }
  }
}

extension Service {
  mutating func applyOwnDefaults() {
    if metadata.namespace == nil { metadata.namespace = "default" }
  }
}

extension ServicePort {
  mutating func applyOwnDefaults() {
    if targetPort == nil { targetPort = .int(port) }
  }
}
