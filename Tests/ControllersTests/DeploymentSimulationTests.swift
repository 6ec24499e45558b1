import KubeModel
import Testing

@testable import Controllers

/// Rollouts under a seeded world; a failure names its seed, which replays it.
@Suite struct DeploymentSimulationTests {
  private func run(_ seed: UInt64, _ options: DeploymentWorld.Options) throws {
    var world = DeploymentWorld(seed: seed, options: options)
    try world.settle()
    for _ in 0..<4 {
      for _ in 0..<3 {
        world.userActs()
        for _ in 0..<Int.random(in: 5...60, using: &world.dice) { try world.step() }
      }
      world.deployment.spec.paused = nil
      world.deployment.metadata.generation = (world.deployment.metadata.generation ?? 0) + 1
      world.deployment.metadata.resourceVersion = world.nextRevision()
      try world.settle()
    }
  }

  @Test(arguments: UInt64(900)..<1100)
  func aRolloutNeverTakesMorePodsAwayThanMayBeMissingAndComesToRest(seed: UInt64) throws {
    try run(seed, .init())
  }

  @Test(arguments: UInt64(1000)..<1100)
  func aRolloutComesToRestThoughPodsFail(seed: UInt64) throws { try run(seed, .init(podsFail: true)) }

  @Test(arguments: UInt64(2000)..<2060)
  func recreatingComesToRest(seed: UInt64) throws { try run(seed, .init(recreates: true)) }

  @Test(arguments: UInt64(3000)..<3050)
  func anImageThatNeverStartsLeavesTheOldPodsAtWork(seed: UInt64) throws {
    var world = DeploymentWorld(seed: seed, options: .init(resizes: false, pauses: false))
    try world.settle()
    world.mayStart = false
    world.deployment.spec.template = Make.template(image: "broken")
    world.deployment.metadata.generation = 9
    world.deployment.metadata.resourceVersion = world.nextRevision()
    for _ in 0..<300 { try world.step() }
    #expect(world.available >= world.floor)
    world.undo()
    world.deployment.metadata.generation = 10
    world.deployment.metadata.resourceVersion = world.nextRevision()
    try world.settle()
  }
}
