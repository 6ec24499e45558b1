internal import JSON
internal import KubeClient
internal import KubeModel
internal import Synchronization

/// Sizes what HorizontalPodAutoscalers point at by what its pods use.
final class AutoscalerController: Sendable {
  /// Seconds between two looks at one autoscaler's metrics.
  private static let periodSeconds: Int64 = 15

  private let context: ControllerContext
  private let autoscalers: Informer<HorizontalPodAutoscaler>
  private let pods: Informer<Pod>
  private let queue: WorkQueue<ObjectKey>
  private let recorder: EventRecorder
  private let memories = Mutex<[ObjectKey: AutoscalerPlan.Memory]>([:])

  init(_ context: ControllerContext) {
    self.context = context
    autoscalers = context.informers.informer()
    pods = context.informers.informer()
    queue = context.queue("autoscalers")
    recorder = context.recorder("horizontal-pod-autoscaler")
    Index.addNamespace(to: pods)
    autoscalers.onChange { [queue] event in
      if case .updated(let old, let new) = event, old.spec == new.spec { return }
      queue.add(event.object.metadata.key)
    }
  }

  func run() async throws {
    try await context.run("horizontalpodautoscaler", queue, recorder) { [self] key in try await pass(key) }
  }

  private func pass(_ key: ObjectKey) async throws -> WorkOutcome {
    guard let autoscaler = autoscalers.get(key), !autoscaler.metadata.isDeleting else {
      memories.withLock { $0[key] = nil }
      return .done
    }
    var status = autoscaler.status
    status.observedGeneration = autoscaler.metadata.generation
    await reconcile(autoscaler, &status)
    if status != autoscaler.status {
      let wanted = status
      _ = try await context.client.updateStatus(retrying: autoscaler) { fresh in
        guard fresh.status != wanted else { return false }
        fresh.status = wanted
        return true
      }
    }
    return .after(.seconds(Self.periodSeconds))
  }

  private func reconcile(_ autoscaler: HorizontalPodAutoscaler, _ status: inout HorizontalPodAutoscalerStatus) async {
    let now = context.now
    func fail(_ type: String, _ reason: String, _ message: String) {
      status.set(type, "False", reason, message, now)
      recorder.record(autoscaler, .warning, reason: reason, message)
    }
    let target = autoscaler.spec.scaleTargetRef
    guard let path = scalePath(target, autoscaler.metadata.namespace) else {
      return fail(
        "AbleToScale", "FailedGetScale",
        "the HPA controller was unable to get the target's current scale: no matches for kind \"\(target.kind)\" in group \"\(target.apiVersion ?? "")\""
      )
    }
    let scale: JSONValue
    do throws(KubeError) {
      scale = try await context.client.document(KubeRequest(.get, path))
    } catch {
      return fail(
        "AbleToScale", "FailedGetScale",
        "the HPA controller was unable to get the target's current scale: \(error.message)")
    }
    status.set(
      "AbleToScale", "True", "SucceededGetScale", "the HPA controller was able to get the target's current scale", now)
    let current = Int(scale["spec"]?["replicas"]?.integer ?? 0)
    status.currentReplicas = Int32(clamping: scale["status"]?["replicas"]?.integer ?? 0)
    let least = Int(autoscaler.spec.minReplicas ?? 1)
    if current == 0, least != 0 {
      status.desiredReplicas = 0
      return status.set(
        "ScalingActive", "False", "ScalingDisabled",
        "scaling is disabled since the replica count of the target is zero", now)
    }
    guard let advised = await advised(autoscaler, scale, current, &status) else {
      status.desiredReplicas = Int32(clamping: current)
      return
    }
    var memory = memories.withLock { $0[autoscaler.metadata.key] ?? AutoscalerPlan.Memory() }
    let plan = AutoscalerPlan(for: autoscaler, current: current, advised: advised.replicas, memory: &memory, now: now)
    memories.withLock { [memory] in $0[autoscaler.metadata.key] = memory }
    status.set("AbleToScale", "True", plan.able.reason, plan.able.message, now)
    status.set("ScalingLimited", plan.limited.status, plan.limited.reason, plan.limited.message, now)
    status.desiredReplicas = Int32(clamping: plan.replicas)
    guard plan.replicas != current else { return }
    do throws(KubeError) {
      try await resize(path, to: plan.replicas)
      let why = "New size: \(plan.replicas); reason: \(advised.why)"
      recorder.record(autoscaler, .normal, reason: "SuccessfulRescale", why)
      status.set(
        "AbleToScale", "True", "SucceededRescale",
        "the HPA controller was able to update the target scale to \(plan.replicas)", now)
      status.lastScaleTime = now
    } catch {
      recorder.record(
        autoscaler, .warning, reason: "FailedRescale",
        "New size: \(plan.replicas); reason: \(advised.why); error: \(error.message)")
      status.set(
        "AbleToScale", "False", "FailedUpdateScale",
        "the HPA controller was unable to update the target scale: \(error.message)", now)
    }
  }

  /// - Returns: what the metrics ask for; nil where they say nothing.
  private func advised(
    _ autoscaler: HorizontalPodAutoscaler, _ scale: JSONValue, _ current: Int,
    _ status: inout HorizontalPodAutoscalerStatus
  ) async -> (replicas: Int, why: String)? {
    let now = context.now
    let selector = scale["status"]?["selector"]?.string ?? ""
    var proposals: [AutoscalerMetrics.Proposal] = []
    var problem: AutoscalerMetrics.Problem?
    if selector.isEmpty {
      problem = AutoscalerMetrics.Problem(
        reason: "InvalidSelector", message: "the HPA target's scale is missing a selector")
    } else {
      do throws(KubeError) {
        let (covered, uses) = try await uses(selector, autoscaler.metadata.namespace ?? "")
        for metric in autoscaler.spec.metrics {
          do throws(AutoscalerMetrics.Problem) {
            proposals.append(
              try AutoscalerMetrics.proposal(
                metric, pods: covered, uses: uses, current: current,
                tolerance: (autoscaler.tolerance(isUp: true), autoscaler.tolerance(isUp: false))))
          } catch {
            problem = problem ?? error
          }
        }
      } catch {
        problem = AutoscalerMetrics.Problem(
          reason: "FailedGetResourceMetric",
          message: "failed to get resource metrics: unable to fetch metrics from resource metrics API: \(error.message)"
        )
      }
    }
    status.currentMetrics = proposals.map(\.current)
    let best = proposals.max { $0.replicas < $1.replicas }
    // Where a metric is missing, nothing shrinks by the others' word.
    if let problem, best.map({ $0.replicas <= current }) ?? true {
      let message = "the HPA was unable to compute the replica count: \(problem.message)"
      status.set("ScalingActive", "False", problem.reason, message, now)
      recorder.record(autoscaler, .warning, reason: problem.reason, problem.message)
      return nil
    }
    guard let best else { return nil }
    status.set(
      "ScalingActive", "True", "ValidMetricFound",
      "the HPA was able to successfully calculate a replica count from \(best.name)", now)
    let side = best.replicas > current ? "above" : "below"
    return (best.replicas, best.replicas > current ? "\(best.name) \(side) target" : "All metrics below target")
  }

  private func uses(
    _ selector: String, _ namespace: String
  ) async throws(KubeError) -> ([Pod], AutoscalerMetrics.Uses) {
    let document = try await context.client.document(
      KubeRequest(
        .get, "/apis/metrics.k8s.io/v1beta1/namespaces/\(namespace)/pods", query: [("labelSelector", selector)]))
    var uses: AutoscalerMetrics.Uses = [:]
    for item in document["items"]?.array ?? [] {
      guard let name = item["metadata"]?["name"]?.string else { continue }
      for container in item["containers"]?.array ?? [] {
        let usage = container["usage"]
        uses[name, default: [:]][container["name"]?.string ?? ""] = AutoscalerMetrics.Use(
          milliCPU: usage?["cpu"]?.string.flatMap { Quantity($0) }?.milliValue ?? 0,
          memoryBytes: usage?["memory"]?.string.flatMap { Quantity($0) }?.value ?? 0)
      }
    }
    let listed: KubeList<Pod> = try await context.client.listAll(
      namespace: namespace, ListOptions(labelSelector: selector))
    return (listed.items, uses)
  }

  /// Nil for a kind that this program does not know; those of others are found by their plural name.
  private func scalePath(_ target: CrossVersionObjectReference, _ namespace: String?) -> String? {
    let apiVersion = target.apiVersion.flatMap { $0.isEmpty ? nil : $0 } ?? "apps/v1"
    guard let type = AnyKind.kinds["\(apiVersion)/\(target.kind)"] as? any KubeResource.Type else { return nil }
    return "\(type.resource.path(namespace: namespace))/\(target.name)/scale"
  }

  private func resize(_ path: String, to replicas: Int) async throws(KubeError) {
    let body: JSONValue = ["spec": ["replicas": .integer(Int64(replicas))]]
    _ = try await context.client.raw(
      KubeRequest(
        .patch, path, headers: [("Content-Type", "application/merge-patch+json")], body: body.encoded()))
  }
}

extension HorizontalPodAutoscalerStatus {
  mutating func set(_ type: String, _ status: String, _ reason: String, _ message: String, _ now: Time) {
    let old = conditions.first { $0.type == type }
    var condition = HorizontalPodAutoscalerCondition()
    (condition.type, condition.status, condition.reason, condition.message) = (type, status, reason, message)
    condition.lastTransitionTime = old?.status == status ? old?.lastTransitionTime : now
    if let place = conditions.firstIndex(where: { $0.type == type }) {
      conditions[place] = condition
    } else {
      conditions.append(condition)
    }
  }
}
