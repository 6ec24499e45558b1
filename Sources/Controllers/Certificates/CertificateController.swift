internal import JSON
package import KubeClient
internal import KubeModel
package import Logging

/// Approves the requests of nodes that may make them, signs what is approved, and clears away what is done.
///
/// https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/#kubernetes-signers
final class CertificateController: Sendable {
  /// Until a serving request is looked at again whose node has not told its addresses.
  private static let waitForNode: Duration = .seconds(5)
  /// Between two looks at what is done: age is no event.
  private static let lookPeriod: Duration = .seconds(600)

  private let context: ControllerContext
  private let signer: CertificateSigner
  private let requests: Informer<CertificateSigningRequest>
  private let nodes: Informer<Node>
  private let queue: WorkQueue<String>

  init(_ context: ControllerContext, _ signer: CertificateSigner) {
    self.context = context
    self.signer = signer
    requests = context.informers.informer()
    nodes = context.informers.informer()
    queue = context.queue("certificates")
    requests.onChange { [queue] event in queue.add(event.object.metadata.name ?? "") }
  }

  func run() async throws {
    try await withThrowingDiscardingTaskGroup { group in
      group.addTask { [self] in try await context.run("certificates", queue) { [self] in try await pass($0) } }
      group.addTask { [self] in
        while true {
          try await context.client.clock.sleep(for: Self.lookPeriod)
          for request in requests.list() { queue.add(request.metadata.name ?? "") }
        }
      }
    }
  }

  private func pass(_ name: String) async throws -> WorkOutcome {
    guard let request = requests.get(name: name), !request.metadata.isDeleting else { return .done }
    let subject = try? signer.read(request.spec.request.bytes)
    switch CertificatePlan.step(request, subject: subject, now: context.now.secondsSinceEpoch) {
    case .nothing: return .done
    case .remove:
      try await context.client.delete(CertificateSigningRequest.self, name: name, uid: request.metadata.uid)
    case .fail(let why):
      try await add("Failed", "SignerValidationFailure", why, to: request, subresource: "status")
    case .approveIfAllowed(let subresource):
      guard try await mayCreate(subresource, request) else { return .done }
      try await add(
        "Approved", "AutoApproved", "Auto approving kubelet client certificate after SubjectAccessReview.",
        to: request, subresource: "approval")
    case .approveServing(let node):
      guard let subject else { return .done }
      guard let found = nodes.get(name: node), CertificatePlan.areOwn(subject, of: found) else {
        return .after(Self.waitForNode)
      }
      try await add(
        "Approved", "AutoApproved", "Auto approving kubelet serving certificate: its names are the node's.",
        to: request, subresource: "approval")
    case .approveProxy:
      try await add(
        "Approved", "AutoApproved", "Auto approving the client certificate of a node's own proxy.", to: request,
        subresource: "approval")
    case .sign(let isServer):
      var signed = request
      do {
        signed.status.certificate = Bytes(
          try signer.sign(request.spec.request.bytes, isServer, request.spec.expirationSeconds.map(Int64.init)))
      } catch {
        try await add("Failed", "SigningError", "\(error)", to: request, subresource: "status")
        return .done
      }
      _ = try await context.client.updateStatus(signed)
      context.logger.info("signed certificate request \(name) for \(request.spec.signerName)")
    }
    return .done
  }

  private func add(
    _ type: String, _ reason: String, _ message: String, to request: CertificateSigningRequest, subresource: String
  ) async throws(KubeError) {
    var changed = request
    var condition = CertificateSigningRequestCondition()
    condition.type = type
    condition.status = "True"
    condition.reason = reason
    condition.message = message
    condition.lastUpdateTime = context.now
    condition.lastTransitionTime = context.now
    changed.status.conditions.append(condition)
    let path =
      "\(CertificateSigningRequest.resource.path(namespace: nil))/\(request.metadata.name ?? "")/\(subresource)"
    _ = try await context.client.raw(KubeRequest(.put, path, body: changed.json.encoded()))
  }

  private func mayCreate(_ subresource: String, _ request: CertificateSigningRequest) async throws(KubeError) -> Bool {
    var spec: JSONObject = [
      "user": .string(request.spec.username ?? ""), "groups": JSONValue(request.spec.groups),
      "resourceAttributes": [
        "group": "certificates.k8s.io", "resource": "certificatesigningrequests", "verb": "create",
        "subresource": .string(subresource), "version": "*",
      ],
    ]
    if let uid = request.spec.uid { spec["uid"] = .string(uid) }
    let review: JSONValue = [
      "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": .object(spec),
    ]
    let answer = try await context.client.document(
      KubeRequest(.post, "/apis/authorization.k8s.io/v1/subjectaccessreviews", body: review.encoded()))
    return answer["status"]?["allowed"]?.bool ?? false
  }
}

/// The controller of certificates on its own, for who has the authority's key.
package enum CertificateControl {
  /// Runs until cancelled. - Parameter informers: run by somebody else.
  package static func run(
    client: KubeClient, informers: Informers, signer: CertificateSigner, logger: Logger
  ) async throws {
    let context = ControllerContext(
      client: client, informers: informers, configuration: ControllersConfiguration(), logger: logger)
    let controller = CertificateController(context, signer)
    while await !informers.waitForSync() { try Task.checkCancellation() }
    try await controller.run()
  }
}
