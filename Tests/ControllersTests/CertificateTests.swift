import JSON
import KubeModel
import Testing

@testable import Controllers

/// What is done about requests for certificates.
@Suite struct CertificatePlanTests {
  private static let now: Int64 = 1_800_000_000

  private static func request(
    _ signer: String, usages: [String], user: String = "system:bootstrap:abcdef", conditions: [String] = [],
    issued: Bool = false, age: Int64 = 0
  ) -> CertificateSigningRequest {
    var request = CertificateSigningRequest()
    request.metadata.creationTimestamp = Time(secondsSinceEpoch: now - age)
    request.spec.signerName = signer
    request.spec.usages = usages
    request.spec.username = user
    request.status.conditions = conditions.map {
      var condition = CertificateSigningRequestCondition()
      (condition.type, condition.status) = ($0, "True")
      return condition
    }
    if issued { request.status.certificate = Bytes([1]) }
    return request
  }

  private static let client = ["client auth", "digital signature"]
  private static let server = ["server auth", "digital signature"]
  private static let node = CertificateSubject(commonName: "system:node:n1", organizations: ["system:nodes"])
  private static let serving = CertificateSubject(
    commonName: "system:node:n1", organizations: ["system:nodes"], dnsNames: ["n1"], addresses: ["192.0.2.7"])

  private static let cases: [(CertificateSigningRequest, CertificateSubject?, CertificatePlan.Step)] = [
    (request(CertificatePlan.nodeClientSigner, usages: client), node, .approveIfAllowed(subresource: "nodeclient")),
    (
      request(CertificatePlan.nodeClientSigner, usages: client, user: "system:node:n1"), node,
      .approveIfAllowed(subresource: "selfnodeclient")
    ),
    (
      request(CertificatePlan.servingSigner, usages: server, user: "system:node:n1"), serving,
      .approveServing(node: "n1")
    ),
    // Asked for by another than it names.
    (request(CertificatePlan.servingSigner, usages: server, user: "system:node:n2"), serving, .nothing),
    // A person's certificate is a person's to approve.
    (request(CertificatePlan.clientSigner, usages: client), CertificateSubject(commonName: "ann"), .nothing),
    (
      request(CertificatePlan.clientSigner, usages: client, conditions: ["Approved"]),
      CertificateSubject(commonName: "ann"), .sign(isServer: false)
    ),
    (
      request(CertificatePlan.servingSigner, usages: server, user: "system:node:n1", conditions: ["Approved"]), serving,
      .sign(isServer: true)
    ),
    (
      request(CertificatePlan.clientSigner, usages: client, conditions: ["Approved"]),
      CertificateSubject(commonName: "ann", organizations: ["system:masters"]),
      .fail("system:masters is nobody's to ask for")
    ),
    (
      request(CertificatePlan.nodeClientSigner, usages: client, conditions: ["Approved"]), serving,
      .fail("DNS and IP subjectAltNames are not allowed")
    ),
    (
      request(CertificatePlan.nodeClientSigner, usages: server, conditions: ["Approved"]), node,
      .fail("usages did not include \"client auth\"")
    ),
    (
      request(CertificatePlan.nodeClientSigner, usages: client + ["cert sign"], conditions: ["Approved"]), node,
      .fail("usage \"cert sign\" is not allowed by kubernetes.io/kube-apiserver-client-kubelet")
    ),
    (
      request(CertificatePlan.nodeClientSigner, usages: client, conditions: ["Approved"]),
      CertificateSubject(commonName: "system:node:n1", organizations: ["system:masters"]),
      .fail("subject organization is not system:nodes")
    ),
    (
      request(CertificatePlan.nodeClientSigner, usages: client, conditions: ["Approved"]), nil,
      .fail("the request cannot be read")
    ),
    (request("example.com/own", usages: client, conditions: ["Approved"]), node, .nothing),
    (request(CertificatePlan.nodeClientSigner, usages: client, conditions: ["Denied"]), node, .nothing),
    (request(CertificatePlan.nodeClientSigner, usages: client, conditions: ["Approved"], issued: true), node, .nothing),
    (
      request(CertificatePlan.nodeClientSigner, usages: client, conditions: ["Approved"], issued: true, age: 3601),
      node,
      .remove
    ),
    (request("example.com/own", usages: client, age: 86_401), node, .remove),
  ]

  @Test func aProxysCertificateIsItsNodesToAskFor() {
    let proxy = CertificateSubject(commonName: "system:kube-proxy:n1", organizations: ["system:kube-proxies"])
    var request = Self.request(CertificatePlan.proxySigner, usages: Self.client, user: "system:node:n1")
    #expect(CertificatePlan.step(request, subject: proxy, now: Self.now) == .nothing, "not one of the nodes' group")
    request.spec.groups = ["system:nodes"]
    #expect(CertificatePlan.step(request, subject: proxy, now: Self.now) == .approveProxy)
    request.spec.username = "system:node:n2"
    #expect(CertificatePlan.step(request, subject: proxy, now: Self.now) == .nothing)
    request.status.conditions = [CertificateSigningRequestCondition()]
    (request.status.conditions[0].type, request.status.conditions[0].status) = ("Approved", "True")
    #expect(
      CertificatePlan.step(request, subject: proxy, now: Self.now) == .fail("asked for by system:node:n2"))
  }

  @Test(arguments: cases)
  func aRequestIsJudgedByWhatItSays(
    _ request: CertificateSigningRequest, _ subject: CertificateSubject?, _ step: CertificatePlan.Step
  ) {
    #expect(CertificatePlan.step(request, subject: subject, now: Self.now) == step)
  }

  @Test func servingNamesMustBeTheNodes() {
    var node = Node()
    node.metadata.name = "n1"
    var address = NodeAddress()
    (address.type, address.address) = ("InternalIP", "192.0.2.7")
    node.status.addresses = [address]
    #expect(CertificatePlan.areOwn(Self.serving, of: node))
    var other = Self.serving
    other.dnsNames.append("kubernetes.default.svc")
    #expect(!CertificatePlan.areOwn(other, of: node))
    other = Self.serving
    other.addresses = ["192.0.2.8"]
    #expect(!CertificatePlan.areOwn(other, of: node))
  }
}
