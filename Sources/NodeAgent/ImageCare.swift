package import CRIModel

/// Which images go when the disk is full. As a kubelet's `imageGCHighThresholdPercent` and `imageGCLowThresholdPercent`.
package struct ImageCare: Hashable, Sendable {
  /// Above this much of the disk in use, images go until it is below the other.
  package var highPercent: UInt64 = 85
  package var lowPercent: UInt64 = 80

  package init() {}

  /// Bytes that have to become free; 0: there is room.
  package func excess(totalBytes: UInt64, availableBytes: UInt64) -> UInt64 {
    guard totalBytes > 0 else { return 0 }
    let used = totalBytes - min(totalBytes, availableBytes)
    guard used > totalBytes / 100 * highPercent else { return 0 }
    return used - min(used, totalBytes / 100 * lowPercent)
  }

  /// Images that no container is made from and nobody has pinned, the largest first, until `bytes` are free.
  package func removable(_ images: [CRIImage], usedBy containers: [CRIContainer], bytes: UInt64) -> [CRIImage] {
    let used = Set(containers.flatMap { [$0.imageRef, $0.imageID, $0.image.image] })
    let idle = images.filter { image in
      !image.pinned && !used.contains(image.id) && used.isDisjoint(with: image.repoTags + image.repoDigests)
    }
    var left = bytes
    var out: [CRIImage] = []
    for image in idle.sorted(by: { ($0.size, $0.id) > ($1.size, $1.id) }) where left > 0 {
      out.append(image)
      left -= min(left, image.size)
    }
    return out
  }
}
