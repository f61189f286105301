"""Many experiments compared: seeds, equal search budgets, significance, cost, and a report."""
