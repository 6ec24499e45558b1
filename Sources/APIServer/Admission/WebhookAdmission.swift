import CEL
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
    let hooks = webhooks(
      mutating: true, admissionAction(operation, object, old: old, context), context.resource)
    guard !hooks.isEmpty else { return object }
    var result = object
    var seen: [Int: JSONObject] = [:]
    for (index, hook) in hooks.enumerated() {
      result = try await mutated(result, old: old, operation, hook, context)
      seen[index] = result
    }
    for (index, hook) in hooks.enumerated() where hook.hook.isReinvoked && seen[index] != result {
      result = try await mutated(result, old: old, operation, hook, context)
    }
    return result
  }

  private func mutated(
    _ object: JSONObject, old: JSONObject?, _ operation: String, _ call: WebhookCall, _ context: RequestContext
  ) async throws(APIStatus) -> JSONObject {
    let hook = call.hook
    guard let answer = try await ask(call, object, old: old, operation, context) else { return object }
    guard let text = answer["patch"]?.string, !text.isEmpty else { return object }
    guard answer["patchType"] == "JSONPatch" else {
      throw Self.failed(hook, "patch type \"\(answer["patchType"]?.string ?? "")\" is not supported, only JSONPatch")
    }
    var decoder = FieldDecoder()
    let bytes = Bytes(.string(text), &decoder).bytes
    guard decoder.problems.isEmpty, let patch = try? JSONValue.parse(bytes) else {
      throw Self.failed(hook, "the patch is no JSON in base64")
    }
    let shown = try await formed(object, call.form, context)
    var changed: JSONObject
    do throws(PatchError) {
      let patched = try JSONPatch.apply(patch, to: .object(shown))
      guard let members = patched.object else { throw Self.failedPatch }
      changed = members
    } catch {
      throw Self.failed(hook, "the patch does not apply: \(error)")
    }
    if let form = call.form { changed = try await converted(changed, from: form, to: context.resource) }
    // What is not of the table has a schema of its own, which is applied where it is stored.
    guard schema.type(named: context.resource.schema.name) != nil else { return changed }
    let pruned = schema.pruned(.object(changed), as: context.resource.schema)
    return schema.defaulted(pruned, as: context.resource.schema).object ?? object
  }

  /// The object in the version that a webhook wants.
  private func formed(
    _ object: JSONObject, _ form: ServedResource?, _ context: RequestContext
  ) async throws(APIStatus) -> JSONObject {
    guard let form else { return whole(object, context).object ?? object }
    var result = try await converted(whole(object, context).object ?? object, from: context.resource, to: form)
    result["apiVersion"] = .string(form.type.apiVersion)
    return result
  }

  /// Between two versions of one resource.
  func converted(
    _ object: JSONObject, from: ServedResource, to: ServedResource
  ) async throws(APIStatus) -> JSONObject {
    guard from.type.apiVersion != to.type.apiVersion else { return object }
    if let conversion = from.custom?.conversion {
      var spoken = object
      spoken["apiVersion"] = .string(from.type.apiVersion)
      if let known = conversion.known(spoken, to: to.type.version) { return known }
      return try await converted([spoken], to: to.type.version, conversion)[0]
    }
    var result = from.alias.map { Conversions.stored(object, from: $0) } ?? object
    if let alias = to.alias { result = Conversions.spoken(result, as: alias) }
    result["apiVersion"] = .string(to.type.apiVersion)
    return result
  }

  /// Asks the policies and the webhooks that change nothing.
  /// - Throws: what the first that refuses says.
  func checkByWebhooks(
    _ object: JSONObject?, old: JSONObject?, _ operation: String, _ context: RequestContext
  ) async throws(APIStatus) {
    try checkPolicies(object, old: old, operation, context)
    // After all that may change the object.
    if let object { try await prepareConversion(of: object, context) }
    guard hasWebhooks(mutating: false) else { return }
    let hooks = webhooks(
      mutating: false, admissionAction(operation, object, old: old, context), context.resource)
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

  func whole(_ object: JSONObject, _ context: RequestContext) -> JSONValue {
    var result = object
    result["apiVersion"] = .string(context.resource.type.apiVersion)
    result["kind"] = .string(context.resource.kind)
    return .object(result)
  }

  /// Whether a webhook's conditions hold.
  private func isConcerned(
    _ hook: Webhook, _ object: JSONObject?, old: JSONObject?, _ operation: String, _ context: RequestContext
  ) throws(APIStatus) -> Bool {
    let verdict = hook.conditions.flatMap { conditions in
      conditions.isEmpty
        ? .success(true)
        : AdmissionExpressions.concern(conditions, expressionVariables(object, old: old, operation, context))
    }
    switch verdict {
    case .success(let holds): return holds
    case .failure(let problem):
      if hook.isIgnoredOnFailure { return false }
      throw .forbidden(
        context.resource.qualified, (object ?? old).map { ObjectMetadata($0).name } ?? "",
        "webhook \"\(hook.name)\": \(problem)")
    }
  }

  /// What a webhook says of an action; nil where it is no concern of it, or it failed and that does not matter.
  private func ask(
    _ hookCall: WebhookCall, _ object: JSONObject?, old: JSONObject?, _ operation: String, _ context: RequestContext
  ) async throws(APIStatus) -> JSONValue? {
    let hook = hookCall.hook
    guard try isConcerned(hook, object, old: old, operation, context) else { return nil }
    let uid = ObjectNames.uid()
    var request = admissionRequest(operation, object, old: old, context)
    request["uid"] = .string(uid)
    if let form = hookCall.form {
      (request["kind"], request["resource"]) = (Self.kind(form), Self.resource(form))
      for (key, shown) in [("object", object), ("oldObject", old)] {
        if let shown { request[key] = .object(try await formed(shown, form, context)) }
      }
    }
    let answer: JSONValue
    do throws(WebhookFailure) {
      answer = try await call(
        hook.client, seconds: hook.timeoutSeconds,
        ["apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": .object(request)])
      guard answer["kind"] == "AdmissionReview", let response = answer["response"], response["uid"] == .string(uid)
      else { throw WebhookFailure(why: "received invalid webhook response: expected response.uid=\"\(uid)\"") }
    } catch {
      if hook.isIgnoredOnFailure {
        logger.warning("webhook \(hook.name): \(error.why); ignored, as its failure policy says")
        return nil
      }
      throw Self.failed(hook, "failed to call webhook: \(error.why)")
    }
    for (key, value) in answer["response"]?["auditAnnotations"]?.object?.members ?? [] {
      if let text = value.string { context.notes.annotate("\(hook.name)/\(key)", text) }
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

  private static func kind(_ resource: ServedResource) -> JSONValue {
    let type = resource.type
    return ["group": .string(type.group), "version": .string(type.version), "kind": .string(type.kind)]
  }

  private static func resource(_ resource: ServedResource) -> JSONValue {
    let type = resource.type
    return ["group": .string(type.group), "version": .string(type.version), "resource": .string(type.plural)]
  }

  /// What is asked for, as webhooks and expressions see it.
  func admissionRequest(
    _ operation: String, _ object: JSONObject?, old: JSONObject?, _ context: RequestContext
  ) -> JSONObject {
    let (kind, resource) = (Self.kind(context.resource), Self.resource(context.resource))
    let options = ["CREATE": "CreateOptions", "UPDATE": "UpdateOptions", "DELETE": "DeleteOptions"][operation] ?? ""
    var request: JSONObject = [
      "uid": "", "kind": kind, "resource": resource, "requestKind": kind, "requestResource": resource,
      "name": .string((object ?? old).map { ObjectMetadata($0).name } ?? context.info.name),
      "operation": .string(operation), "userInfo": context.user.json,
      "object": object.map { whole($0, context) } ?? .null, "oldObject": old.map { whole($0, context) } ?? .null,
      "dryRun": .bool(context.query.all("dryRun").contains("All")),
      "options": ["apiVersion": "meta.k8s.io/v1", "kind": .string(options)],
    ]
    if context.resource.type.isNamespaced { request["namespace"] = .string(context.namespace) }
    if !context.info.subresource.isEmpty {
      request["subResource"] = .string(context.info.subresource)
      request["requestSubResource"] = .string(context.info.subresource)
    }
    return request
  }

  struct WebhookFailure: Error {
    let why: String
  }

  /// Bytes of a webhook's answer.
  private static let answerBytesMax = 3 << 20

  /// Posts a review, and gives the answer.
  func call(
    _ client: WebhookClientConfig, seconds: Int, _ review: JSONValue
  ) async throws(WebhookFailure) -> JSONValue {
    let (endpoint, target, shown) = try place(of: client)
    let headers: HTTPFields = ["Content-Type": "application/json", "Accept": "application/json"]
    let response: HTTPDialedResponse
    do throws(HTTPDialError) {
      response = try await HTTPDialer.send(
        method: "POST", target: "\(target)?timeout=\(seconds)s", headers: headers, body: review.encoded(),
        to: endpoint, timeoutSeconds: seconds)
    } catch {
      throw WebhookFailure(why: "Post \"\(shown)?timeout=\(seconds)s\": \(error)")
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
    of client: WebhookClientConfig
  ) throws(WebhookFailure) -> (endpoint: HTTPEndpoint, target: String, shown: String) {
    let bundle = client.caBundle?.bytes ?? []
    guard !bundle.isEmpty else {
      throw WebhookFailure(why: "clientConfig.caBundle is empty: the authorities of the system are not believed here")
    }
    let identity = HTTPDialIdentity(authorities: bundle)
    if let service = client.service {
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
    let url = client.url ?? ""
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
