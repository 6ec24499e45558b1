internal import KubeModel

/// What a request for a certificate says, as far as a signer judges it.
package struct CertificateSubject: Hashable, Sendable {
  package var commonName: String
  package var organizations: [String]
  package var dnsNames: [String]
  package var addresses: [String]
  /// Names that are neither.
  package var hasOtherNames: Bool

  package init(
    commonName: String, organizations: [String] = [], dnsNames: [String] = [], addresses: [String] = [],
    hasOtherNames: Bool = false
  ) {
    self.commonName = commonName
    self.organizations = organizations
    self.dnsNames = dnsNames
    self.addresses = addresses
    self.hasOtherNames = hasOtherNames
  }
}

/// Whoever has the authority's key.
package struct CertificateSigner: Sendable {
  /// - Throws: what is wrong with the request, in words.
  package var read: @Sendable (_ request: [UInt8]) throws -> CertificateSubject
  /// The certificate as PEM. - Parameter seconds: nil: as long as it may be.
  package var sign: @Sendable (_ request: [UInt8], _ isServer: Bool, _ seconds: Int64?) throws -> [UInt8]

  package init(
    read: @escaping @Sendable (_ request: [UInt8]) throws -> CertificateSubject,
    sign: @escaping @Sendable (_ request: [UInt8], _ isServer: Bool, _ seconds: Int64?) throws -> [UInt8]
  ) {
    self.read = read
    self.sign = sign
  }
}

/// What is to be done about a request: a function of the request and what it says.
enum CertificatePlan {
  static let clientSigner = "kubernetes.io/kube-apiserver-client"
  static let nodeClientSigner = "kubernetes.io/kube-apiserver-client-kubelet"
  static let servingSigner = "kubernetes.io/kubelet-serving"

  /// Ours: the identity of a node's Service proxy and network policies, which see pods of other nodes.
  static let proxySigner = "martlet.local/node-proxy"

  enum Step: Hashable, Sendable {
    case nothing
    /// Approve, if who asked may create this subresource of requests.
    case approveIfAllowed(subresource: String)
    /// Approve, if the names are those of the node that asked.
    case approveServing(node: String)
    /// Approve: who asked is the node that the proxy is of.
    case approveProxy
    case sign(isServer: Bool)
    case fail(String)
    /// Nobody will look at it any more.
    case remove
  }

  /// Seconds after which a request goes that was decided, or that nobody decided.
  static let decidedSeconds: Int64 = 3600
  static let pendingSeconds: Int64 = 24 * 3600

  static func step(
    _ request: CertificateSigningRequest, subject: CertificateSubject?, now: Int64
  ) -> Step {
    let types = Set(request.status.conditions.filter { $0.status == "True" }.map(\.type))
    let isIssued = !(request.status.certificate?.bytes.isEmpty ?? true)
    let age = now - (request.metadata.creationTimestamp?.secondsSinceEpoch ?? now)
    if isIssued || types.contains("Denied") || types.contains("Failed") {
      return age > decidedSeconds ? .remove : .nothing
    }
    if age > pendingSeconds { return .remove }
    let isApproved = types.contains("Approved")
    let signer = request.spec.signerName
    guard [clientSigner, nodeClientSigner, servingSigner, proxySigner].contains(signer) else { return .nothing }
    guard let subject else { return isApproved ? .fail("the request cannot be read") : .nothing }
    let problem = problem(request, subject)
    if isApproved { return problem.map { .fail($0) } ?? .sign(isServer: signer == servingSigner) }
    // A person decides about what is no node's.
    guard problem == nil else { return .nothing }
    switch signer {
    case nodeClientSigner:
      return .approveIfAllowed(
        subresource: request.spec.username == subject.commonName ? "selfnodeclient" : "nodeclient")
    case servingSigner:
      return .approveServing(node: String(subject.commonName.dropFirst("system:node:".count)))
    case proxySigner: return .approveProxy
    default: return .nothing
    }
  }

  /// Why a signer does not sign this; nil: it does.
  static func problem(_ request: CertificateSigningRequest, _ subject: CertificateSubject) -> String? {
    let usages = Set(request.spec.usages)
    let signer = request.spec.signerName
    let isServer = signer == servingSigner
    let main = isServer ? "server auth" : "client auth"
    guard usages.contains(main) else { return "usages did not include \"\(main)\"" }
    if let other = usages.subtracting([main, "digital signature", "key encipherment"]).sorted().first {
      return "usage \"\(other)\" is not allowed by \(signer)"
    }
    if signer == clientSigner {
      return subject.organizations.contains("system:masters") ? "system:masters is nobody's to ask for" : nil
    }
    if signer == proxySigner { return proxyProblem(request, subject) }
    guard subject.organizations == ["system:nodes"] else {
      return "subject organization is not system:nodes"
    }
    guard subject.commonName.hasPrefix("system:node:"), subject.commonName.count > "system:node:".count else {
      return "subject common name does not begin with \"system:node:\""
    }
    if subject.hasOtherNames { return "email and URI subjectAltNames are not allowed" }
    let hasNames = !subject.dnsNames.isEmpty || !subject.addresses.isEmpty
    if !isServer { return hasNames ? "DNS and IP subjectAltNames are not allowed" : nil }
    guard hasNames else { return "DNS or IP subjectAltName is required" }
    return request.spec.username == subject.commonName ? nil : "asked for by \(request.spec.username ?? "nobody")"
  }

  private static func proxyProblem(_ request: CertificateSigningRequest, _ subject: CertificateSubject) -> String? {
    guard subject.organizations == ["system:kube-proxies"] else {
      return "subject organization is not system:kube-proxies"
    }
    if !subject.dnsNames.isEmpty || !subject.addresses.isEmpty || subject.hasOtherNames {
      return "subjectAltNames are not allowed"
    }
    let user = request.spec.username ?? ""
    guard user.hasPrefix("system:node:"), request.spec.groups.contains("system:nodes"),
      subject.commonName == "system:kube-proxy:\(user.dropFirst("system:node:".count))"
    else { return "asked for by \(user)" }
    return nil
  }

  /// Whether all names of a serving certificate are those of the node.
  static func areOwn(_ subject: CertificateSubject, of node: Node) -> Bool {
    let known = Set(node.status.addresses.map(\.address))
    let name = node.metadata.name ?? ""
    return subject.dnsNames.allSatisfy { $0 == name || $0 == "localhost" || known.contains($0) }
      && subject.addresses.allSatisfy { known.contains($0) || $0 == "127.0.0.1" || $0 == "::1" }
  }
}
