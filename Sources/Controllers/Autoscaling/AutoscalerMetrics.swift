package import KubeModel

/// What the metrics API says of pods, and how many pods that asks for.
package enum AutoscalerMetrics {
  /// Use of one container: millicores, bytes.
  package struct Use: Sendable, Hashable {
    package var milliCPU: Int64
    package var memoryBytes: Int64

    package init(milliCPU: Int64, memoryBytes: Int64) {
      self.milliCPU = milliCPU
      self.memoryBytes = memoryBytes
    }

    func amount(_ resource: String) -> Int64? {
      switch resource {
      case "cpu": milliCPU
      case "memory": memoryBytes
      default: nil
      }
    }
  }
  /// By pod and container.
  package typealias Uses = [String: [String: Use]]

  package struct Proposal: Sendable, Hashable {
    package let replicas: Int
    package let current: MetricStatus
    /// As events name it: `cpu resource utilization (percentage of request)`.
    package let name: String
  }

  package struct Problem: Error, Sendable, Hashable {
    package let reason: String
    package let message: String
  }

  /// - Parameter tolerance: deviation from the target, as a part of it, that changes nothing.
  package static func proposal(
    _ metric: MetricSpec, pods: [Pod], uses: Uses, current: Int, tolerance: (up: Double, down: Double)
  ) throws(Problem) -> Proposal {
    let (resource, container, target): (String, String?, MetricTarget)
    if metric.type == "Resource", let source = metric.resource {
      (resource, container, target) = (source.name, nil, source.target)
    } else if metric.type == "ContainerResource", let source = metric.containerResource {
      (resource, container, target) = (source.name, source.container, source.target)
    } else {
      throw Problem(
        reason: "InvalidMetricSourceType",
        message: "metrics of type \(metric.type) are not supported; Resource and ContainerResource are")
    }
    let reading = Reading(resource: resource, container: container, pods: pods, uses: uses)
    if reading.used.isEmpty {
      throw Problem(
        reason: "FailedGetResourceMetric",
        message:
          "failed to get \(resource) utilization: did not receive metrics for targeted pods (pods might be unready)")
    }
    let ratio: Double
    let name: String
    var value = MetricValueStatus()
    let count = Int64(reading.used.count)
    let sum = reading.used.values.reduce(Int64(0)) { $0.addingClamped($1) }
    let perPod: Int64
    if let percent = target.averageUtilization {
      let requests = try reading.requests()
      let asked = requests.filter { reading.used[$0.key] != nil }.values.reduce(Int64(0)) { $0.addingClamped($1) }
      guard asked > 0, percent > 0 else {
        throw Problem(reason: "FailedGetResourceMetric", message: "no metrics returned matched known pods")
      }
      ratio = Double(sum) * 100 / Double(asked) / Double(percent)
      value.averageUtilization = Int32(clamping: Int64(Double(sum) * 100 / Double(asked)))
      name = "\(resource) \(container == nil ? "" : "container ")resource utilization (percentage of request)"
      perPod = asked / count * Int64(percent) / 100
    } else if let average = target.averageValue {
      let wanted = resource == "cpu" ? average.milliValue : average.value
      guard wanted > 0 else { throw Problem(reason: "FailedGetResourceMetric", message: "the target is zero") }
      ratio = Double(sum) / Double(count) / Double(wanted)
      name = "\(resource) resource"
      perPod = wanted
    } else {
      throw Problem(
        reason: "FailedGetResourceMetric",
        message:
          "invalid resource metric source: neither an average utilization target nor an average value (usage) target was set"
      )
    }
    value.averageValue = Quantity(resource == "cpu" ? "\(sum / count)m" : "\(sum / count)")
    return Proposal(
      replicas: reading.replicas(ratio, target: perPod, current: current, tolerance), current: status(metric, value),
      name: name)
  }

  private static func status(_ metric: MetricSpec, _ value: MetricValueStatus) -> MetricStatus {
    var status = MetricStatus()
    status.type = metric.type
    if let source = metric.resource {
      var inner = ResourceMetricStatus()
      (inner.name, inner.current) = (source.name, value)
      status.resource = inner
    }
    if let source = metric.containerResource {
      var inner = ContainerResourceMetricStatus()
      (inner.name, inner.container, inner.current) = (source.name, source.container, value)
      status.containerResource = inner
    }
    return status
  }

  // MARK: pods

  /// What is known of the pods: which are measured, which are not ready, and of which nothing is known.
  private struct Reading {
    let resource: String
    let container: String?
    /// By pod.
    var used: [String: Int64] = [:]
    var missing: [String] = []
    var unready: [String] = []
    let pods: [Pod]

    init(resource: String, container: String?, pods: [Pod], uses: Uses) {
      (self.resource, self.container) = (resource, container)
      self.pods = pods.filter(\.isActive)
      for pod in self.pods {
        let name = pod.metadata.name ?? ""
        let measured = (uses[name] ?? [:]).filter { container == nil || $0.key == container }
        if pod.status.phase == "Pending" || resource == "cpu" && !pod.isReady {
          unready.append(name)
        } else if measured.isEmpty {
          missing.append(name)
        } else {
          used[name] = measured.values.reduce(Int64(0)) { $0.addingClamped($1.amount(resource) ?? 0) }
        }
      }
    }

    func requests() throws(Problem) -> [String: Int64] {
      var requests: [String: Int64] = [:]
      for pod in pods {
        var sum: Int64 = 0
        for one in pod.spec.containers where container == nil || one.name == container {
          guard let quantity = one.resources.requests[resource] ?? one.resources.limits[resource] else {
            throw Problem(
              reason: "FailedGetResourceMetric",
              message:
                "failed to get \(resource) utilization: missing request for \(resource) in container \(one.name) of Pod \(pod.metadata.name ?? "")"
            )
          }
          sum = sum.addingClamped(resource == "cpu" ? quantity.milliValue : quantity.value)
        }
        requests[pod.metadata.name ?? ""] = sum
      }
      return requests
    }

    /// Pods of which nothing is known are taken for what changes least.
    func replicas(_ ratio: Double, target: Int64, current: Int, _ tolerance: (up: Double, down: Double)) -> Int {
      func isWithin(_ ratio: Double) -> Bool { ratio <= 1 + tolerance.up && ratio >= 1 - tolerance.down }
      if missing.isEmpty, unready.isEmpty || ratio <= 1 {
        return isWithin(ratio) ? current : AutoscalerMetrics.rounded(ratio * Double(used.count))
      }
      var (sum, count) = (ratio * Double(used.count), Double(used.count))
      if ratio < 1 { sum += Double(missing.count) }
      count += Double(missing.count)
      if ratio > 1 { count += Double(unready.count) }
      let corrected = sum / count
      if isWithin(corrected) || ratio < 1 && corrected > 1 || ratio > 1 && corrected < 1 { return current }
      let wanted = AutoscalerMetrics.rounded(corrected * count)
      return corrected < 1 && wanted > current || corrected > 1 && wanted < current ? current : wanted
    }
  }

  /// Up, but not for what only arithmetic adds.
  private static func rounded(_ count: Double) -> Int {
    Int(min((count - 1e-9).rounded(.up), 1e9))
  }
}
