"""The rules of quotas: how much an owner may have open, and how often it may ask."""

from __future__ import annotations

from .entities import Bucket, Owner, Service
from .rules import Rules
from .words import Quota, Req


class Quotas(Rules):
    """What the model knows of quotas."""

    def owner_set(
        self,
        owner: int,
        weight: int,
        open_max: int,
        bytes_max: int,
        interval_ns: int,
        burst_ns: int,
        now: int,
    ) -> None:
        bucket = self.owners[owner].bucket
        bucket.leak(now)
        bucket.level = min(bucket.level, interval_ns + burst_ns)
        self.owners[owner].weight = weight
        self.owners[owner].quota = Quota(open_max, bytes_max, interval_ns, burst_ns)

    def service_quota(
        self, s: int, open_max: int, bytes_max: int, interval_ns: int, burst_ns: int
    ) -> None:
        self.services[s].quota = Quota(open_max, bytes_max, interval_ns, burst_ns)

    def quota_wait(self, c: int, s: int | None, now: int) -> int:
        owner, waits = self.clients[c].owner, [0]
        buckets = [(owner.quota, owner.bucket)]
        if s is not None:
            buckets = self._buckets(owner, self.services[s])
        for quota, bucket in buckets:
            if quota.interval_ns:
                bucket.leak(now)
                waits.append(bucket.level - quota.burst_ns)
        return max(waits)

    def _buckets(self, owner: Owner, service: Service) -> list[tuple[Quota, Bucket]]:
        """The quotas that a request counts for: the owner's own, then the service's."""
        in_service = owner.buckets.setdefault(service, Bucket())
        return [(owner.quota, owner.bucket), (service.quota, in_service)]

    def _quota_refusal(self, owner: Owner, service: Service, size: int) -> Req | None:
        opened = [r for r in self.slots.values() if r.open and r.client.owner is owner]
        here = [r for r in opened if r.service is service]
        orphans = [t.charged[1] for t in self.tasks.values() if t.charged and t.charged[0] is owner]
        counts = len(orphans), orphans.count(service)
        for step, requests in enumerate((opened, here)):
            quota, bucket = self._buckets(owner, service)[step]
            bucket.leak(self.now)
            if quota.open_max and len(requests) + counts[step] >= quota.open_max:
                return (Req.QUOTA_OPEN, Req.SERVICE_QUOTA_OPEN)[step]
            if (
                quota.bytes_max
                and requests
                and (sum([r.bytes for r in requests]) + size > quota.bytes_max)
            ):
                return (Req.QUOTA_BYTES, Req.SERVICE_QUOTA_BYTES)[step]
            if quota.interval_ns and bucket.level > quota.burst_ns:
                return (Req.QUOTA_RATE, Req.SERVICE_QUOTA_RATE)[step]
        return None
