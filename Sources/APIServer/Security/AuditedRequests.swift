import HTTPServer
import JSON
import Kernel
import KubeModel

/// One request on its way into the audit log.
private struct AuditRecord: Sendable {
  var event: JSONObject
  let level: AuditPolicy.Level
  let omitted: Set<AuditPolicy.Stage>
  let log: AuditLog

  func tell(_ stage: AuditPolicy.Stage, _ add: (inout JSONObject) -> Void = { _ in }) {
    guard !omitted.contains(stage) else { return }
    var event = event
    event["stage"] = .string(stage.rawValue)
    add(&event)
    event["stageTimestamp"] = .string(Self.time())
    log.write(.object(event))
  }

  static func time() -> String { "\(MicroTime(microsecondsSinceEpoch: SystemClock.wallNanoseconds / 1000))" }
}

extension APIServer {
  /// Bodies longer than this are not written down; the event says so.
  private static let auditedBytesMax = 1 << 20

  /// Answers a request, and writes down what the policy asks for.
  func audited(
    _ request: HTTPRequest, _ log: AuditLog, _ answer: (HTTPRequest) async -> HTTPResponse
  ) async -> HTTPResponse {
    let info = RequestInfo(method: request.method, path: request.path, query: request.query)
    let sender = (try? access.user(of: request)) ?? .anonymous
    let user = (try? access.effectiveUser(sender, of: request)) ?? sender
    let (level, omitted) = log.policy.decide(user, info.attributes)
    guard level > .none else { return await answer(request) }
    var record = AuditRecord(
      event: Self.event(request, info, level, sender, user), level: level, omitted: omitted, log: log)
    record.tell(.requestReceived)
    var asked = request
    if level >= .request, ["create", "update", "patch", "delete", "deletecollection"].contains(info.verb),
      !info.isLongRunning
    {
      do throws(HTTPBodyError) {
        let body = try await request.body(limit: configuration.bodyBytesMax)
        asked = request.with(body: body)
        record.event["requestObject"] = Self.audited(body, type: request.headers["content-type"] ?? "")
      } catch {
        let problem = APIStatus.badRequest("\(error)")
        let response = self.answer(
          { if case .tooLarge(let limit) = error { .tooLarge(limitBytes: limit) } else { problem } }(), to: request)
        Self.tellEnd(record, response, access.authorizer.decide(user, info.attributes))
        return response
      }
    }
    let notes = AuditAnnotations()
    var response = await AuditAnnotations.$current.withValue(notes) { await answer(asked) }
    let decision = access.authorizer.decide(user, info.attributes)
    guard case .stream(let write) = response.body else {
      Self.tellEnd(record, response, decision, notes)
      return response
    }
    // Told when it ends, however it ends.
    record.tell(.responseStarted) {
      $0["responseStatus"] = ["metadata": [:], "code": .integer(Int64(response.status))]
    }
    let (ended, begun) = (record, response)
    response.body = .stream { writer in
      defer { Self.tellEnd(ended, begun, decision, notes) }
      try await write(writer)
    }
    return response
  }

  private static func event(
    _ request: HTTPRequest, _ info: RequestInfo, _ level: AuditPolicy.Level, _ sender: UserInfo, _ user: UserInfo
  ) -> JSONObject {
    var event: JSONObject = [
      "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": .string(level.rawValue),
      "auditID": .string(ObjectNames.uid()), "stage": "", "requestURI": .string(request.target.raw),
      "verb": .string(info.verb), "user": sender.json,
    ]
    if user != sender { event["impersonatedUser"] = user.json }
    let address = request.remoteAddress.split(separator: ":").dropLast().joined(separator: ":")
    event["sourceIPs"] = address.isEmpty ? [] : [.string(address)]
    event["userAgent"] = request.headers["user-agent"].map { .string(String($0.prefix(1024))) }
    if info.isResourceRequest {
      var reference: JSONObject = ["resource": .string(info.resource)]
      if !info.namespace.isEmpty { reference["namespace"] = .string(info.namespace) }
      if !info.name.isEmpty { reference["name"] = .string(info.name) }
      if !info.group.isEmpty { reference["apiGroup"] = .string(info.group) }
      reference["apiVersion"] = .string(info.version)
      if !info.subresource.isEmpty { reference["subresource"] = .string(info.subresource) }
      event["objectRef"] = .object(reference)
    }
    event["requestReceivedTimestamp"] = .string(AuditRecord.time())
    return event
  }

  private static func tellEnd(
    _ record: AuditRecord, _ response: HTTPResponse, _ decision: AccessDecision, _ notes: AuditAnnotations? = nil
  ) {
    record.tell(.responseComplete) { event in
      var bytes: [UInt8]?
      switch response.body {
      case .bytes(let body): bytes = body
      case .chunks(let parts): bytes = Array(parts.joined())
      case .stream, .tunnel: bytes = nil
      }
      var status: JSONObject = ["metadata": [:], "code": .integer(Int64(response.status))]
      if response.status >= 400, let bytes, bytes.count <= auditedBytesMax, let said = try? JSONValue.parse(bytes) {
        for key in ["status", "message", "reason", "details"] { status[key] = said[key] }
        status["code"] = .integer(Int64(response.status))
      }
      event["responseStatus"] = .object(status)
      if record.level >= .requestResponse, let bytes, !bytes.isEmpty {
        event["responseObject"] = audited(bytes, type: response.headers["content-type"] ?? "")
      }
      var annotations = notes?.all ?? [:]
      annotations["authorization.k8s.io/decision"] = decision.isAllowed ? "allow" : "forbid"
      annotations["authorization.k8s.io/reason"] = decision.reason
      event["annotations"] = JSONValue(annotations)
    }
  }

  /// A body as the event holds it: the document, or a word on what it is.
  private static func audited(_ body: [UInt8], type: String) -> JSONValue? {
    guard !body.isEmpty else { return nil }
    guard body.count <= auditedBytesMax else { return ["omitted": .string("\(body.count) bytes")] }
    if type.contains("protobuf") { return .object(["omitted": "protobuf", "bytes": .integer(Int64(body.count))]) }
    return (try? JSONValue.parse(body)) ?? .object(["omitted": .string(type), "bytes": .integer(Int64(body.count))])
  }
}

extension HTTPRequest {
  /// The same request with its body at hand.
  fileprivate func with(body: [UInt8]) -> HTTPRequest {
    var request = HTTPRequest(method: method, target: target, headers: headers, body: body, peer: peer)
    request.isSecure = isSecure
    request.majorVersion = majorVersion
    request.remoteAddress = remoteAddress
    return request
  }
}
