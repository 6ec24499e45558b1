import HTTPServer
import JSON
import KubeModel
import KubeSchema
import Logging
import ObjectStore

/// Webhooks: https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/
extension APIServer {
  /// The object as the mutating webhooks want it, one after the other; those that ask for it see it again once others
  /// have changed it.
  func mutatedByWebhooks(
    _ object: JSONObject, old: JSONObject?, _ operation: String, _ context: RequestContext
  ) async throws(APIStatus) -> JSONObject {
    guard hasWebhooks(mutating: true) else { return object }
    let hooks = webhooks(mutating: true, admissionAction(operation, object, old: old, context))
    guard !hooks.isEmpty else { return object }
    var result = object
    var seen: [Int: JSONObject] = [:]
    for (index, hook) in hooks.enumerated() {
      result = try await mutated(result, old: old, operation, hook, context)
      seen[index] = result
    }
    for (index, hook) in hooks.enumerated() where hook.isReinvoked && seen[index] != result {
      result = try await mutated(result, old: old, operation, hook, context)
    }
    return result
  }

  private func mutated(
    _ object: JSONObject, old: JSONObject?, _ operation: String, _ hook: Webhook, _ context: RequestContext
  ) async throws(APIStatus) -> JSONObject {
    guard let answer = try await ask(hook, object, old: old, operation, context) else { return object }
    guard let text = answer["patch"]?.string, !text.isEmpty else { return object }
    guard answer["patchType"] == "JSONPatch" else {
      throw Self.failed(hook, "patch type \"\(answer["patchType"]?.string ?? "")\" is not supported, only JSONPatch")
    }
    var decoder = FieldDecoder()
    let bytes = Bytes(.string(text), &decoder).bytes
    guard decoder.problems.isEmpty, let patch = try? JSONValue.parse(bytes) else {
      throw Self.failed(hook, "the patch is no JSON in base64")
    }
    do throws(PatchError) {
      let patched = try JSONPatch.apply(patch, to: whole(object, context))
      guard let changed = patched.object else { throw Self.failedPatch }
      // What is not of the table has a schema of its own, which is applied where it is stored.
      guard schema.type(named: context.resource.schema.name) != nil else { return changed }
      let pruned = schema.pruned(.object(changed), as: context.resource.schema)
      return schema.defaulted(pruned, as: context.resource.schema).object ?? object
    } catch {
      throw Self.failed(hook, "the patch does not apply: \(error)")
    }
  }

  /// - Throws: what the first webhook that refuses says.
  func checkByWebhooks(
    _ object: JSONObject?, old: JSONObject?, _ operation: String, _ context: RequestContext
  ) async throws(APIStatus) {
    guard hasWebhooks(mutating: false) else { return }
    let hooks = webhooks(mutating: false, admissionAction(operation, object, old: old, context))
    guard !hooks.isEmpty else { return }
    let refusals = await withTaskGroup(of: (Int, APIStatus?).self) { group in
      for (index, hook) in hooks.enumerated() {
        group.addTask {
          do throws(APIStatus) {
            _ = try await self.ask(hook, object, old: old, operation, context)
            return (index, nil)
          } catch {
            return (index, error)
          }
        }
      }
      var found: [Int: APIStatus] = [:]
      for await (index, refusal) in group { found[index] = refusal }
      return found
    }
    if let first = refusals.min(by: { $0.key < $1.key }) { throw first.value }
  }

  // MARK: one call

  private static let failedPatch = PatchError(.notApplicable, "the result is no object")

  private static func failed(_ hook: Webhook, _ why: String) -> APIStatus {
    .internalError("failed calling webhook \"\(hook.name)\": \(why)")
  }

  private func whole(_ object: JSONObject, _ context: RequestContext) -> JSONValue {
    var result = object
    result["apiVersion"] = .string(context.resource.type.apiVersion)
    result["kind"] = .string(context.resource.kind)
    return .object(result)
  }

  /// What a webhook says of an action; nil where it failed and that does not matter.
  private func ask(
    _ hook: Webhook, _ object: JSONObject?, old: JSONObject?, _ operation: String, _ context: RequestContext
  ) async throws(APIStatus) -> JSONValue? {
    let uid = ObjectNames.uid()
    let answer: JSONValue
    do throws(WebhookFailure) {
      let review = review(uid, object, old: old, operation, context)
      answer = try await call(hook, review)
      guard answer["kind"] == "AdmissionReview", let response = answer["response"], response["uid"] == .string(uid)
      else { throw WebhookFailure(why: "received invalid webhook response: expected response.uid=\"\(uid)\"") }
    } catch {
      if hook.isIgnoredOnFailure {
        logger.warning("webhook \(hook.name): \(error.why); ignored, as its failure policy says")
        return nil
      }
      throw Self.failed(hook, "failed to call webhook: \(error.why)")
    }
    let response = answer["response"] ?? [:]
    for warning in response["warnings"]?.array ?? [] {
      if let text = warning.string { context.notes.warn(text) }
    }
    guard response["allowed"]?.bool == true else { throw Self.refusal(hook, response["status"]) }
    return response
  }

  private static func refusal(_ hook: Webhook, _ status: JSONValue?) -> APIStatus {
    let message = status?["message"]?.string ?? ""
    let reason = status?["reason"]?.string ?? ""
    let why = message.isEmpty ? reason : message
    let code = status?["code"]?.integer.map { Int($0) } ?? 403
    return APIStatus(
      code: (400...599).contains(code) ? code : 403, reason: reason.isEmpty && code == 403 ? "Forbidden" : reason,
      message: why.isEmpty
        ? "admission webhook \"\(hook.name)\" denied the request without explanation"
        : "admission webhook \"\(hook.name)\" denied the request: \(why)", details: nil)
  }

  private func review(
    _ uid: String, _ object: JSONObject?, old: JSONObject?, _ operation: String, _ context: RequestContext
  ) -> JSONValue {
    let type = context.resource.type
    let kind: JSONValue = ["group": .string(type.group), "version": .string(type.version), "kind": .string(type.kind)]
    let resource: JSONValue = [
      "group": .string(type.group), "version": .string(type.version), "resource": .string(type.plural),
    ]
    let options = ["CREATE": "CreateOptions", "UPDATE": "UpdateOptions", "DELETE": "DeleteOptions"][operation] ?? ""
    var request: JSONObject = [
      "uid": .string(uid), "kind": kind, "resource": resource, "requestKind": kind, "requestResource": resource,
      "name": .string((object ?? old).map { ObjectMetadata($0).name } ?? context.info.name),
      "operation": .string(operation), "userInfo": context.user.json,
      "object": object.map { whole($0, context) } ?? .null, "oldObject": old.map { whole($0, context) } ?? .null,
      "dryRun": .bool(context.query.all("dryRun").contains("All")),
      "options": ["apiVersion": "meta.k8s.io/v1", "kind": .string(options)],
    ]
    if type.isNamespaced { request["namespace"] = .string(context.namespace) }
    if !context.info.subresource.isEmpty {
      request["subResource"] = .string(context.info.subresource)
      request["requestSubResource"] = .string(context.info.subresource)
    }
    return ["apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": .object(request)]
  }

  private struct WebhookFailure: Error {
    let why: String
  }

  /// Bytes of a webhook's answer.
  private static let answerBytesMax = 3 << 20

  private func call(_ hook: Webhook, _ review: JSONValue) async throws(WebhookFailure) -> JSONValue {
    let (endpoint, target, shown) = try place(of: hook)
    let headers: HTTPFields = ["Content-Type": "application/json", "Accept": "application/json"]
    let response: HTTPDialedResponse
    do throws(HTTPDialError) {
      response = try await HTTPDialer.send(
        method: "POST", target: "\(target)?timeout=\(hook.timeoutSeconds)s", headers: headers, body: review.encoded(),
        to: endpoint, timeoutSeconds: hook.timeoutSeconds)
    } catch {
      throw WebhookFailure(why: "Post \"\(shown)?timeout=\(hook.timeoutSeconds)s\": \(error)")
    }
    defer { response.tunnel.close() }
    var bytes: [UInt8] = []
    do {
      while let more = try await response.tunnel.read() {
        bytes += more
        guard bytes.count <= Self.answerBytesMax else { break }
      }
    } catch {
      throw WebhookFailure(why: "Post \"\(shown)\": reading the answer: \(error)")
    }
    guard response.status == 200 else {
      throw WebhookFailure(why: "Post \"\(shown)\": the server answered \(response.status)")
    }
    guard bytes.count <= Self.answerBytesMax, let answer = try? JSONValue.parse(bytes) else {
      throw WebhookFailure(why: "Post \"\(shown)\": the answer is no JSON of at most \(Self.answerBytesMax) bytes")
    }
    return answer
  }

  /// Where a webhook is: an address, a path, and both as people write them.
  private func place(
    of hook: Webhook
  ) throws(WebhookFailure) -> (endpoint: HTTPEndpoint, target: String, shown: String) {
    let bundle = hook.client.caBundle?.bytes ?? []
    guard !bundle.isEmpty else {
      throw WebhookFailure(why: "clientConfig.caBundle is empty: the authorities of the system are not believed here")
    }
    let identity = HTTPDialIdentity(authorities: bundle)
    if let service = hook.client.service {
      let (name, port) = ("\(service.name).\(service.namespace).svc", Int(service.port ?? 443))
      let path = service.path ?? "/"
      guard let stored = store.get("/services/\(service.namespace)/\(service.name)"),
        let found = Self.decoded(stored, as: Service.self)
      else { throw WebhookFailure(why: "service \"\(service.name)\" not found") }
      guard let address = found.spec.clusterIP, !address.isEmpty, address != "None" else {
        throw WebhookFailure(why: "service \"\(service.name)\" has no address of its own")
      }
      guard found.spec.ports.contains(where: { Int($0.port) == port }) else {
        throw WebhookFailure(why: "service port \(port) not found for service \"\(service.name)\"")
      }
      return (
        .tls(host: address, port: port, serverName: name, identity: identity), path, "https://\(name):\(port)\(path)"
      )
    }
    let url = hook.client.url ?? ""
    guard url.hasPrefix("https://") else { throw WebhookFailure(why: "\(url): only https is spoken") }
    let rest = url.dropFirst("https://".count)
    let authority = rest.prefix { $0 != "/" }
    let path = rest.dropFirst(authority.count)
    var (host, port) = (String(authority), 443)
    if let colon = authority.lastIndex(of: ":"), !authority.hasSuffix("]"),
      let number = Int(authority[authority.index(after: colon)...])
    {
      (host, port) = (String(authority[..<colon]), number)
    }
    if host.hasPrefix("["), host.hasSuffix("]") { host = String(host.dropFirst().dropLast()) }
    return (
      .tls(host: host, port: port, serverName: nil, identity: identity), path.isEmpty ? "/" : String(path), url
    )
  }
}
