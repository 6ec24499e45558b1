package import Kernel
package import KubeClient
internal import KubeModel
package import Logging

/// What the controllers may be told.
package struct ControllersConfiguration: Sendable {
  /// Seconds without a lease renewal or a status after which a node counts as lost.
  package var nodeGraceSeconds: Int64 = 40
  /// Seconds between two looks at the leases of nodes: silence is no event.
  package var nodeCheckSeconds: Int64 = 5
  /// The ranges that pod addresses come from, one a family; none leaves `spec.podCIDR` of nodes to others.
  package var clusterCIDRs: [String] = []
  /// Length of the prefix of the part of `clusterCIDRs` that one node gets, where it is not the usual.
  package var nodePrefixLengths: [IPAddress.Family: Int] = [:]
  /// What a node is told with its ranges: annotations.
  package var clusterFacts: [String: String] = [:]
  /// Finished pods that are kept in the whole cluster; zero: all.
  package var finishedPodsMax = 12_500
  /// Whether a StorageClass for directories on nodes is made where there is none.
  package var makesLocalPathClass = true
  /// Ranges from which Services of type LoadBalancer get addresses; none: another controller does that.
  package var loadBalancerPools: [String] = []
  /// Keys that one controller works on at a time.
  package var workers = 4

  package init() {}
}

/// The controllers of the cluster: they make what is into what is asked for.
///
/// Each is a pure plan over what shared informers have seen, and a queue of keys to plan for. A pass that fails is logged
/// and comes again after a delay; it does not stop the others.
package final class Controllers: Sendable {
  private let client: KubeClient
  private let informers: Informers
  private let runsInformers: Bool
  private let configuration: ControllersConfiguration
  private let logger: Logger

  /// - Parameter informers: shared with others, who run them; nil for its own.
  package init(
    client: KubeClient, informers: Informers? = nil,
    configuration: ControllersConfiguration = ControllersConfiguration(),
    logger: Logger = Logger(label: "martlet.controllers")
  ) {
    self.client = client
    runsInformers = informers == nil
    self.informers = informers ?? Informers(client: client, logger: logger)
    self.configuration = configuration
    self.logger = logger
  }

  /// Runs all controllers until cancelled.
  /// - Throws: `CancellationError`, or `PodAddressing.Refusal` or `LoadBalancerPool.Refusal` at once where the
  ///   configuration cannot be used.
  package func run() async throws {
    let context = ControllerContext(
      client: client, informers: informers, configuration: configuration, logger: logger)
    let handles = ResourceHandles(client: client)
    // All are made before the informers run, so that each index is there from the first list on.
    var services: [@Sendable () async throws -> Void] = [
      DeploymentController(context).run, ReplicaSetController<ReplicaSet>(context).run,
      ReplicaSetController<ReplicationController>(context).run, EndpointSliceController(context).run,
      StatefulSetController(context).run, DaemonSetController(context).run, JobController(context).run,
      CronJobController(context).run, VolumeController(context).run, DisruptionController(context).run,
      QuotaController(context, handles).run, EndpointsController(context).run,
      EndpointMirrorController(context).run, AutoscalerController(context).run,
      NamespaceController(context, handles).run, GarbageCollector(context, handles).run,
      try NodeController(context).run, PodCleaner(context).run,
    ]
    if !configuration.loadBalancerPools.isEmpty { services.append(try LoadBalancerController(context).run) }
    let all = services
    try await withThrowingDiscardingTaskGroup { group in
      if runsInformers { group.addTask { try await context.informers.run() } }
      // Nothing is decided on half a picture: what is not yet seen would look deleted.
      while await !context.informers.waitForSync() {
        try Task.checkCancellation()
        logger.warning("the API has not told yet what there is; waiting")
      }
      for service in all { group.addTask { try await service() } }
    }
  }
}
