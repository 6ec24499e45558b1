import HTTPServer
import JSON
import KubeModel
import KubeSchema
import ObjectStore

extension APIServer {
  private static let evictionRetrySeconds = 10
  private static let evictionAttemptsMax = 10
  private static let budgetGroup = "policy/v1"

  /// pods/eviction: deletes a pod where its disruption budget lets it go.
  ///
  /// https://kubernetes.io/docs/concepts/scheduling-eviction/api-eviction/
  func evict(_ context: RequestContext) async throws(APIStatus) -> HTTPResponse {
    guard let type = schema.type(apiVersion: Self.budgetGroup, kind: "Eviction") else {
      throw .internalError("evict: the table has no Eviction")
    }
    var options = try WriteOptions(context.query, kind: "CreateOptions")
    let bytes = try await body(context.request)
    let read = try checked(
      try parse(bytes, try Self.encoding(context.request), kind: "Eviction"), apiVersion: Self.budgetGroup,
      kind: "Eviction", type: type, options.fieldValidation)
    let name = ObjectMetadata(read.object).name
    guard name.isEmpty || name == context.info.name else {
      throw .badRequest("name in URL does not match name in Eviction object")
    }
    let deletion = try DeleteOptions(HTTPQuery(), body: read.object["deleteOptions"])
    options.isDryRun = options.isDryRun || deletion.isDryRun
    var mayGo = false
    for _ in 0..<Self.evictionAttemptsMax where !mayGo {
      guard let stored = store.get(context.key) else { throw context.notFound() }
      let pod = try document(AnsweredObject(value: stored.value, revision: stored.revision), context.resource)
      let claim = try claim(of: pod, context)
      mayGo = claim == nil || options.isDryRun
      guard let claim, !mayGo else { continue }
      do throws(StoreError) {
        _ = try await store.commit(claim)
        mayGo = true
      } catch {
        // The budget changed meanwhile: looked at anew.
        guard case .conflict = error else { throw status(error) }
      }
    }
    guard mayGo else { throw .conflict(context.resource.qualified, context.info.name) }
    var wanted = deletion
    wanted.isDryRun = options.isDryRun
    _ = try await delete(context, key: context.key, name: context.info.name, wanted)
    let answer: JSONValue = [
      "kind": "Status", "apiVersion": "v1", "metadata": [:], "status": "Success", "code": 201,
    ]
    return encoded(answer, context.negotiated.encoding, code: 201)
  }

  /// What takes one of the disruptions that the pod's budget allows; nil where the pod may go without.
  private func claim(of pod: JSONValue, _ context: RequestContext) throws(APIStatus) -> Transaction? {
    let phase = pod.text("status", "phase")
    let isOver = phase == "Succeeded" || phase == "Failed" || phase == "Pending"
    guard !isOver, pod["metadata"]?["deletionTimestamp"] == nil else { return nil }
    guard let budgets = resources.resource(apiVersion: Self.budgetGroup, plural: "poddisruptionbudgets") else {
      return nil
    }
    let labels = ObjectMetadata(pod).labels
    var found: [(StoredObject, JSONValue)] = []
    for stored in store.list(prefix: budgets.prefix(namespace: context.namespace)).objects {
      guard let budget = try? JSONValue.parse(stored.value), let selector = budget["spec"]?["selector"],
        try LabelQuery(Self.selectorText(selector)).matches(labels)
      else { continue }
      found.append((stored, budget))
    }
    guard let (stored, budget) = found.first else { return nil }
    guard found.count == 1 else {
      throw .internalError(
        "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.")
    }
    return try Self.claim(stored, budget, pod, budgets, context)
  }

  private static func claim(
    _ stored: StoredObject, _ budget: JSONValue, _ pod: JSONValue, _ budgets: ServedResource, _ context: RequestContext
  ) throws(APIStatus) -> Transaction? {
    let status = budget["status"]?.object ?? [:]
    func count(_ key: String) -> Int64 { status[key]?.integer ?? 0 }
    let isReady = (pod["status"]?["conditions"]?.array ?? []).contains {
      $0.text("type") == "Ready" && $0.text("status") == "True"
    }
    if !isReady {
      if budget.text("spec", "unhealthyPodEvictionPolicy") == "AlwaysAllow" { return nil }
      if count("desiredHealthy") > 0, count("currentHealthy") >= count("desiredHealthy") { return nil }
    }
    let name = budget.text("metadata", "name")
    if count("observedGeneration") < ObjectMetadata(budget).generation {
      throw refusal(
        "The disruption budget \(name) is still being processed by the server.", retryAfterSeconds: evictionRetrySeconds
      )
    }
    guard count("disruptionsAllowed") > 0 else {
      throw refusal(
        "The disruption budget \(name) needs \(count("desiredHealthy")) healthy pods and has "
          + "\(count("currentHealthy")) currently")
    }
    var changed = budget.object ?? [:]
    changed[object: "status"]["disruptionsAllowed"] = .integer(count("disruptionsAllowed") - 1)
    changed[object: "status"][object: "disruptedPods"][context.info.name] = .string(ObjectNames.time(context.now))
    return Transaction(
      checks: [stored.key: stored.revision], puts: [(stored.key, budgets.stored(changed))])
  }

  /// A client library that is told when to try again does so itself, and says nothing meanwhile; whether a budget will ever
  /// let the pod go nobody knows, so that the client shall hear of it.
  private static func refusal(_ cause: String, retryAfterSeconds: Int = 0) -> APIStatus {
    var details = APIStatus.Details()
    details.causes = [.init(reason: "DisruptionBudget", message: cause)]
    details.retryAfterSeconds = retryAfterSeconds
    return APIStatus(
      code: 429, reason: "TooManyRequests",
      message: "Cannot evict pod as it would violate the pod's disruption budget.", details: details)
  }
}
