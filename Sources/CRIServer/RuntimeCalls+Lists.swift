internal import CRIModel
internal import GRPCCore
internal import PodRuntime
internal import SwiftProtobuf

/// The lists as streams: the same answers in parts, so that a list of any length fits the messages that clients take.
enum ListParts {
  /// Entries of one message: a container's entry may be large, with labels and annotations of many kilobytes.
  static let entriesMax = 100

  /// At least one part, so that a client that reads one message finds an empty list.
  static func parts<Entry>(_ entries: [Entry]) -> [ArraySlice<Entry>] {
    guard !entries.isEmpty else { return [[]] }
    return stride(from: 0, to: entries.count, by: entriesMax).map {
      entries[$0..<min($0 + entriesMax, entries.count)]
    }
  }
}

extension RuntimeCalls {
  func streamPodSandboxes(
    request: CRIStreamPodSandboxesRequest, response: RPCWriter<CRIStreamPodSandboxesResponse>, context: ServerContext
  ) async throws {
    for part in ListParts.parts(sandboxes(request.filter)) {
      try await response.write(CRIStreamPodSandboxesResponse.with { $0.podSandboxes = Array(part) })
    }
  }

  func streamContainers(
    request: CRIStreamContainersRequest, response: RPCWriter<CRIStreamContainersResponse>, context: ServerContext
  ) async throws {
    for part in ListParts.parts(containers(request.filter)) {
      try await response.write(CRIStreamContainersResponse.with { $0.containers = Array(part) })
    }
  }

  func streamContainerStats(
    request: CRIStreamContainerStatsRequest, response: RPCWriter<CRIStreamContainerStatsResponse>,
    context: ServerContext
  ) async throws {
    for part in ListParts.parts(await containerStats(request.filter)) {
      try await response.write(CRIStreamContainerStatsResponse.with { $0.containerStats = Array(part) })
    }
  }

  func streamPodSandboxStats(
    request: CRIStreamPodSandboxStatsRequest, response: RPCWriter<CRIStreamPodSandboxStatsResponse>,
    context: ServerContext
  ) async throws {
    for part in ListParts.parts(await sandboxStats(request.filter)) {
      try await response.write(CRIStreamPodSandboxStatsResponse.with { $0.podSandboxStats = Array(part) })
    }
  }

  func streamPodSandboxMetrics(
    request: CRIStreamPodSandboxMetricsRequest, response: RPCWriter<CRIStreamPodSandboxMetricsResponse>,
    context: ServerContext
  ) async throws {
    for part in ListParts.parts(await metrics.pods()) {
      try await response.write(CRIStreamPodSandboxMetricsResponse.with { $0.podSandboxMetrics = Array(part) })
    }
  }

  func listMetricDescriptors(
    request: CRIListMetricDescriptorsRequest, context: ServerContext
  ) async throws -> CRIListMetricDescriptorsResponse {
    CRIListMetricDescriptorsResponse.with { $0.descriptors = MetricName.allCases.map(\.descriptor) }
  }

  func listPodSandboxMetrics(
    request: CRIListPodSandboxMetricsRequest, context: ServerContext
  ) async throws -> CRIListPodSandboxMetricsResponse {
    try await calls.answer("ListPodSandboxMetrics") {
      let pods = await metrics.pods()
      return CRIListPodSandboxMetricsResponse.with { $0.podMetrics = pods }
    }
  }

  // MARK: What lists and streams answer alike

  func sandboxes(_ filter: CRIPodSandboxFilter) -> [CRIPodSandbox] {
    runtime.sandboxes.filter { ListFilter.passes($0, filter) }
      .sorted { $0.record.createdAt > $1.record.createdAt }.map(StatusMessages.sandbox)
  }

  func containers(_ filter: CRIContainerFilter) -> [CRIContainer] {
    runtime.containers.filter { ListFilter.passes($0, filter) }
      .sorted { $0.record.createdAt > $1.record.createdAt }.map(StatusMessages.container)
  }

  func containerStats(_ asked: CRIContainerStatsFilter) async -> [CRIContainerStats] {
    var filter = CRIContainerFilter()
    filter.id = asked.id
    filter.podSandboxID = asked.podSandboxID
    filter.labelSelector = asked.labelSelector
    let running = runtime.containers.filter { snapshot in
      if case .running = snapshot.phase { ListFilter.passes(snapshot, filter) } else { false }
    }
    return await figures.containers(running)
  }

  func sandboxStats(_ asked: CRIPodSandboxStatsFilter) async -> [CRIPodSandboxStats] {
    var filter = CRIPodSandboxFilter()
    filter.id = asked.id
    filter.labelSelector = asked.labelSelector
    return await figures.sandboxes(runtime.sandboxes.filter { $0.isReady && ListFilter.passes($0, filter) })
  }
}
