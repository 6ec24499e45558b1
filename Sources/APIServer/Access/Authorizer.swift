import JSON

/// What a user may do: everything for `system:masters`, what a node needs for nodes, what roles grant, and nothing else.
///
/// A node may change its own Node and Lease, read and change its own pods, read the Secrets and ConfigMaps that these
/// refer to, and ask for tokens of their accounts; that it creates nothing in another's name is for admission to see.
package struct Authorizer: Sendable {
  private let reader: ObjectReader
  /// Nil: no roles, so nobody but administrators and nodes may do anything.
  var roles: RoleIndex?

  package init(reader: ObjectReader) { self.reader = reader }

  /// - Throws: 403 in Kubernetes' words.
  package func check(_ user: UserInfo, _ attributes: AccessAttributes) throws(AccessRefusal) {
    let decision = decide(user, attributes)
    if !decision.isAllowed { throw .forbidden(user, attributes, why: decision.reason) }
    try checkSigning(user, attributes)
  }

  /// The status of a request for a certificate holds the certificate, and what was decided: it is the signer's to write.
  private func checkSigning(_ user: UserInfo, _ asked: AccessAttributes) throws(AccessRefusal) {
    guard asked.group == "certificates.k8s.io", asked.resource == "certificatesigningrequests",
      asked.subresource == "status", Self.changing.contains(asked.verb), !user.groups.contains(UserInfo.mastersGroup),
      let request = reader.object("/certificatesigningrequests.certificates.k8s.io/\(asked.name)")
    else { return }
    let signer = request.text(at: "spec", "signerName")
    guard maySign("sign", for: signer, user) else {
      throw .forbidden(user, asked, why: "user not permitted to sign requests with signerName \"\(signer)\"")
    }
  }

  /// Whether a user may approve or sign for a signer: by its name, or by `DOMAIN/*`.
  func maySign(_ verb: String, for signer: String, _ user: UserInfo) -> Bool {
    let domain = signer.split(separator: "/").first.map { "\($0)/*" } ?? ""
    return [signer, domain].contains { name in
      decide(user, AccessAttributes(verb: verb, group: "certificates.k8s.io", resource: "signers", name: name))
        .isAllowed
    }
  }

  package func decide(_ user: UserInfo, _ attributes: AccessAttributes) -> AccessDecision {
    if user.groups.contains(UserInfo.mastersGroup) { return AccessDecision(isAllowed: true, reason: "") }
    var reasons: [String] = []
    if let node = user.nodeName, !node.isEmpty, !attributes.resource.isEmpty {
      switch nodeVerdict(node, attributes) {
      case .allowed: return AccessDecision(isAllowed: true, reason: "")
      case .denied(let why): reasons.append(why)
      }
    }
    if let decision = roles?.decide(user, attributes) {
      if decision.isAllowed { return decision }
      if !decision.reason.isEmpty { reasons.append(decision.reason) }
    }
    return AccessDecision(isAllowed: false, reason: reasons.joined(separator: ", "))
  }

  enum Verdict: Equatable {
    case allowed
    case denied(String)
  }

  private static let reading: Set<String> = ["get", "list", "watch"]
  private static let changing: Set<String> = ["update", "patch"]

  func nodeVerdict(_ node: String, _ asked: AccessAttributes) -> Verdict {
    let isReading = Self.reading.contains(asked.verb)
    let other = Verdict.denied("node '\(node)' cannot do this")
    switch (asked.group, asked.resource) {
    case ("", "nodes"):
      if asked.subresource.isEmpty, isReading || asked.verb == "create" { return .allowed }
      guard asked.subresource.isEmpty || asked.subresource == "status" else { return other }
      guard Self.changing.contains(asked.verb) || isReading || asked.verb == "delete" && asked.subresource.isEmpty
      else {
        return other
      }
      return asked.name == node
        ? .allowed : .denied("node '\(node)' is not allowed to modify node '\(asked.name)'")
    case ("coordination.k8s.io", "leases"):
      guard asked.namespace == "kube-node-lease" else {
        return .denied("can only access leases in the \"kube-node-lease\" system namespace")
      }
      if asked.verb == "create" { return .allowed }
      return asked.name == node && (asked.verb == "get" || Self.changing.contains(asked.verb) || asked.verb == "delete")
        ? .allowed : .denied("can only access node lease with the same name as the requesting node")
    case ("", "pods"): return podVerdict(node, asked)
    case ("", "secrets"), ("", "configmaps"): return contentVerdict(node, asked)
    case ("", "services"), ("", "namespaces"), ("", "endpoints"), ("discovery.k8s.io", "endpointslices"),
      ("node.k8s.io", "runtimeclasses"), ("", "persistentvolumeclaims"), ("", "persistentvolumes"),
      ("storage.k8s.io", "csidrivers"), ("storage.k8s.io", "volumeattachments"), ("storage.k8s.io", "storageclasses"),
      ("networking.k8s.io", "networkpolicies"):
      return isReading && asked.subresource.isEmpty ? .allowed : other
    case ("", "serviceaccounts"): return accountVerdict(node, asked)
    case ("", "events"), ("events.k8s.io", "events"):
      return asked.verb == "create" || Self.changing.contains(asked.verb) ? .allowed : other
    case ("authentication.k8s.io", "tokenreviews"), ("authorization.k8s.io", "subjectaccessreviews"),
      ("authorization.k8s.io", "localsubjectaccessreviews"):
      return asked.verb == "create" ? .allowed : other
    case ("certificates.k8s.io", "certificatesigningrequests"):
      return asked.subresource.isEmpty && (asked.verb == "create" || isReading) ? .allowed : other
    default: return other
    }
  }

  private func podVerdict(_ node: String, _ asked: AccessAttributes) -> Verdict {
    if asked.subresource.isEmpty {
      if asked.verb == "create" { return .allowed }
      if asked.verb == "list" || asked.verb == "watch" {
        return asked.nodeSelector == node
          ? .allowed : .denied("can only list/watch pods with spec.nodeName field selector")
      }
    }
    let isReading = asked.verb == "get"
    let isStatus = asked.subresource == "status" && Self.changing.contains(asked.verb)
    let isEnd = asked.subresource.isEmpty && asked.verb == "delete" || asked.subresource == "eviction"
    guard isStatus || isEnd || isReading && ["", "status"].contains(asked.subresource) else {
      return .denied("node '\(node)' cannot do this")
    }
    // A pod that is gone is nobody's: the answer is that there is none.
    guard let pod = reader.object("/pods/\(asked.namespace)/\(asked.name)") else { return .allowed }
    if pod.text(at: "spec", "nodeName") == node { return .allowed }
    return .denied(
      isReading
        ? "no relationship found between node '\(node)' and this object"
        : "node '\(node)' cannot change pods of another node")
  }

  /// A node reads the accounts of its pods, and asks for their tokens; for which pod is for the request itself to say.
  private func accountVerdict(_ node: String, _ asked: AccessAttributes) -> Verdict {
    guard asked.verb == "get" && asked.subresource.isEmpty || asked.verb == "create" && asked.subresource == "token"
    else { return .denied("can only get service accounts and create their tokens") }
    guard !asked.name.isEmpty, reader.usesAccount(node, asked.namespace, asked.name) else {
      return .denied("no relationship found between node '\(node)' and this object")
    }
    return .allowed
  }

  private func contentVerdict(_ node: String, _ asked: AccessAttributes) -> Verdict {
    let name = asked.verb == "get" ? asked.name : asked.nameSelector
    guard Self.reading.contains(asked.verb), asked.subresource.isEmpty else {
      return .denied("can only read resources of this type")
    }
    guard !name.isEmpty, !asked.namespace.isEmpty else {
      return .denied("can only list/watch/get an individual resource of this type")
    }
    let isSecret = asked.resource == "secrets"
    let isReferred = reader.refers(node, asked.namespace, name, isSecret)
    return isReferred ? .allowed : .denied("no relationship found between node '\(node)' and this object")
  }
}

/// The Secrets and ConfigMaps that a pod's node needs.
struct PodReferences: Equatable {
  private(set) var secrets: Set<String> = []
  private(set) var configMaps: Set<String> = []
  private(set) var account = ""

  func contains(_ name: String, isSecret: Bool) -> Bool { (isSecret ? secrets : configMaps).contains(name) }

  init(_ pod: JSONValue) {
    guard let spec = pod["spec"] else { return }
    account = spec["serviceAccountName"]?.string ?? ""
    for secret in spec["imagePullSecrets"]?.array ?? [] { add(secret, "name", to: \.secrets) }
    for volume in spec["volumes"]?.array ?? [] {
      add(volume["secret"], "secretName", to: \.secrets)
      add(volume["configMap"], "name", to: \.configMaps)
      for driver in ["csi": "nodePublishSecretRef", "flexVolume": "secretRef"] {
        add(volume.at(driver.key, driver.value), "name", to: \.secrets)
      }
      for source in volume.at("projected", "sources")?.array ?? [] {
        add(source["secret"], "name", to: \.secrets)
        add(source["configMap"], "name", to: \.configMaps)
      }
    }
    for list in ["containers", "initContainers", "ephemeralContainers"] {
      for container in spec[list]?.array ?? [] { addEnvironment(of: container) }
    }
  }

  private mutating func addEnvironment(of container: JSONValue) {
    for source in container["envFrom"]?.array ?? [] {
      add(source["secretRef"], "name", to: \.secrets)
      add(source["configMapRef"], "name", to: \.configMaps)
    }
    for variable in container["env"]?.array ?? [] {
      add(variable.at("valueFrom", "secretKeyRef"), "name", to: \.secrets)
      add(variable.at("valueFrom", "configMapKeyRef"), "name", to: \.configMaps)
    }
  }

  private mutating func add(_ holder: JSONValue?, _ key: String, to set: WritableKeyPath<PodReferences, Set<String>>) {
    guard let name = holder?[key]?.string, !name.isEmpty else { return }
    self[keyPath: set].insert(name)
  }
}
