internal import JSON

/// What a pod asks of its network, as plugins are told it: CNI_ARGS and `runtimeConfig`.
package struct CNIAttachment: Hashable, Sendable {
  package struct Port: Hashable, Sendable {
    /// "tcp", "udp" or "sctp".
    package var transport: String
    package var hostPort: UInt16
    package var containerPort: UInt16
    /// Empty for every address.
    package var hostAddress: String

    package init(transport: String, hostPort: UInt16, containerPort: UInt16, hostAddress: String = "") {
      self.transport = transport
      self.hostPort = hostPort
      self.containerPort = containerPort
      self.hostAddress = hostAddress
    }
  }

  package var podNamespace = ""
  package var podName = ""
  package var podUID = ""
  package var annotations: [String: String] = [:]
  package var ports: [Port] = []
  package var nameServers: [String] = []
  package var searchDomains: [String] = []
  package var resolverOptions: [String] = []
  /// Addresses that are asked for, as "10.1.2.3/24".
  package var addresses: [String] = []
  /// Other names that the pod is found by.
  package var aliases: [String] = []
  package var cgroupPath = ""

  package init() {}

  package static let ingressAnnotation = "kubernetes.io/ingress-bandwidth"
  package static let egressAnnotation = "kubernetes.io/egress-bandwidth"

  /// `IgnoreUnknown`, so that a plugin that knows none of these goes on.
  func arguments(_ sandboxID: String) -> String {
    let pairs = [
      ("IgnoreUnknown", "1"), ("K8S_POD_NAMESPACE", podNamespace), ("K8S_POD_NAME", podName),
      ("K8S_POD_INFRA_CONTAINER_ID", sandboxID), ("K8S_POD_UID", podUID),
    ]
    // Nothing a pod is called may add another pair.
    return pairs.filter { pair in pair.1.utf8.allSatisfy { $0 > 0x20 && $0 != UInt8(ascii: ";") && $0 != 0x7f } }
      .map { "\($0.0)=\($0.1)" }.joined(separator: ";")
  }

  /// Everything that a plugin may declare a capability for; what is empty is not passed.
  /// - Throws: `.configuration` where an annotation is no quantity.
  func runtimeConfig() throws(CNIError) -> JSONObject {
    var config = JSONObject()
    if !ports.isEmpty {
      config["portMappings"] = .array(
        ports.map { port in
          var mapping: JSONObject = [
            "hostPort": .integer(Int64(port.hostPort)), "containerPort": .integer(Int64(port.containerPort)),
            "protocol": .string(port.transport),
          ]
          if !port.hostAddress.isEmpty { mapping["hostIP"] = .string(port.hostAddress) }
          return .object(mapping)
        })
    }
    if let bandwidth = try bandwidth() { config["bandwidth"] = .object(bandwidth) }
    var resolver = JSONObject()
    for (key, words) in [("servers", nameServers), ("searches", searchDomains), ("options", resolverOptions)]
    where !words.isEmpty { resolver[key] = JSONValue(words) }
    if !resolver.isEmpty { config["dns"] = .object(resolver) }
    if !addresses.isEmpty { config["ips"] = JSONValue(addresses) }
    if !aliases.isEmpty { config["aliases"] = JSONValue(aliases) }
    if !annotations.isEmpty { config["io.kubernetes.cri.pod-annotations"] = JSONValue(annotations) }
    if !cgroupPath.isEmpty { config["cgroupPath"] = .string(cgroupPath) }
    return config
  }

  /// Bits a second; a burst as large as the plugins' 32 bits allow, as other runtimes pass it.
  private func bandwidth() throws(CNIError) -> JSONObject? {
    var object = JSONObject()
    for (annotation, key) in [(Self.ingressAnnotation, "ingress"), (Self.egressAnnotation, "egress")] {
      guard let text = annotations[annotation] else { continue }
      guard let rate = Self.quantity(text), (1000...1_000_000_000_000_000).contains(rate) else {
        throw CNIError(
          .configuration, stage: "read annotation \(annotation)", "\(text) is no quantity from 1k to 1P bits a second")
      }
      object["\(key)Rate"] = .integer(rate)
      object["\(key)Burst"] = .integer(Int64(UInt32.max))
    }
    return object.isEmpty ? nil : object
  }

  /// A Kubernetes quantity without fractions of one: "10M", "1Gi", "2500k".
  static func quantity(_ text: String) -> Int64? {
    let digits = text.prefix { ("0"..."9").contains($0) || $0 == "." }
    let units: [String: Double] = [
      "": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "Ki": 1024, "Mi": 1_048_576, "Gi": 1_073_741_824,
      "Ti": 1_099_511_627_776,
    ]
    guard let number = Double(digits), let unit = units[String(text.dropFirst(digits.count))] else { return nil }
    let value = (number * unit).rounded(.up)
    return value < 1e18 ? Int64(value) : nil
  }
}
